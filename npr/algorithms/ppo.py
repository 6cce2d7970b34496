"""PPO-Clip: several epochs per rollout; clipping keeps the policy near the one that collected it.

Schulman et al. 2017, eq. 7, 9, 11-12; GAE: Schulman et al. 2016.

     1  initialize actor theta and critic phi
     2  clip range epsilon
     3  number of epochs K
     4  rollout buffer D, emptied every iteration
     5  for each iteration:
     6      collect n_steps of every environment into D with theta_old <- theta
     7      for k = 1..K, for each shuffled minibatch:
     8          (once, before the epochs) R = A + V(phi, s)
     9          (once, before the epochs) A = GAE of r and V(phi, .)
    10          ratio = pi(theta)(a|s) / pi(theta_old)(a|s)
    11          L = mean min(ratio A, clip(ratio, 1 - epsilon, 1 + epsilon) A)
    12          theta <- one step up the gradient of L (and of the entropy, times ent_coef)
    13          critic:
    14          phi <- one step down the gradient of mean (V(phi, s) - R)^2
    15      end
    16  end

Departures from JoyRL's pseudocode: the advantage is R - V, not V - R (9); theta_old stays fixed
for all epochs, otherwise nothing is ever clipped (7, 11); 8 and 9 are computed once per rollout;
12 is an ascent, 14 a descent; D is not a replay buffer (4). Advantages are normalized per
minibatch, both gradient norms are clipped, and truncated episodes bootstrap from the value of the
final observation. With target_kl the epochs end after the minibatch that exceeds it; Stable-
Baselines3 leaves out the step of that minibatch.

Measured, mean return: CartPole-v1 500.0 in 60,000 steps (10 seeds); Acrobot-v1 -82.9 in 80,000
steps (10 seeds); Pendulum-v1 -148.8 in 100,000 steps (10 seeds); LunarLander-v3 241.7 in 1,000,000
steps (5 seeds); LunarLanderContinuous-v3 263.9 in 1,000,000 steps (5 seeds); HalfCheetah-v5 5,492
in 1,000,000 steps (3 seeds); Hopper-v5 3,383 in 1,000,000 steps (3 seeds); Walker2d-v5 3,749 in
1,000,000 steps (3 seeds).
"""

from npr.algorithms.base import Algorithm
from npr.autodiff import exp, value_and_grad
from npr.backend import to_host
from npr.envs.spaces import ACTION_KINDS
from npr.errors import ConfigError
from npr.heads import policy_head
from npr.kernels import gae, standardize
from npr.losses import clipped_mse, clipped_surrogate
from npr.optim import Adam
from npr.settings import ActorCritic, Proximal, Schedule, setting
from npr.training.logger import explained_variance


class PPO(Proximal, ActorCritic, Algorithm):
    """Proximal policy optimization with a clipped surrogate, for all kinds of actions."""

    n_envs: int = 8
    n_steps: int = setting(256, "env steps per environment and rollout", within="[1, inf)")
    batch_size: int = setting(64, "steps per minibatch", within="[1, inf)")
    clip_range: Schedule = setting(0.2, "clip range of the ratio", within="[0, inf)")  # [2]
    n_epochs: int = setting(10, "epochs K per rollout", within="[1, inf)")  # [3]
    target_kl: float | None = setting(None, "epochs end above 1.5 times this KL", within="(0, inf)")

    networks = ("pi", "vf")
    rates = {"adam_theta": "actor_lr", "adam_phi": "critic_lr"}
    action_kinds = ACTION_KINDS

    def check(self):
        super().check()
        if self.batch_size < 2 and self.normalize_advantage:
            raise ConfigError(
                f"{type(self).__name__}: batch_size=1 has no standard deviation to normalize "
                "advantages by; use batch_size >= 2 or normalize_advantage=False."
            )

    def build(self):
        rate = self.now(self.learning_rate)
        n, rng = self.observations.size, self.rng["init"]
        head = self.head = policy_head(self.actions)
        self.actor = self.network("pi", n, head.outputs, free=head.free)
        self.critic = self.network("vf", n)
        self.theta = self.actor.init(rng, "orthogonal", 0.01, self.log_std_init)  # [1]
        self.phi = self.critic.init(rng, "orthogonal", 1.0)
        self.share_layers()
        self.adam_theta = Adam(self.theta, rate, eps=1e-5)
        self.adam_phi = Adam(self.phi, rate, eps=1e-5)

    def pi(self, theta, s):
        """The distribution of actions at s."""
        return self.head(self.actor(theta, s), self.mask(s))

    def V(self, phi, s):
        return self.critic(phi, s)

    def acts_by(self):
        return self.head, self.actor, self.theta

    def state_values_by(self):
        return self.V, self.phi

    def _train(self, run):
        for D in run.rollouts(self.n_steps, self.explore):  # [4-6]
            self.set_learning_rate()
            epsilon, epsilon_vf = self.now(self.clip_range), self.now(self.clip_range_vf)
            s, a, r, s2, terminated, done = D.arrays()
            v, v2 = self.V(self.phi, s), self.V(self.phi, s2)
            A = gae(r, v, v2, terminated, done, self.gamma, self.gae_lambda)  # [9]
            R = A + v  # [8]
            data = [x.reshape(-1, *x.shape[2:]) for x in (s, a, A, R)]
            data.append(self.pi(self.theta, data[0]).log_prob(data[1]))
            self.train_epochs(run, D, data, epsilon, epsilon_vf)
            run.logger.add({"explained_variance": explained_variance(v, R, D.rows())})
        # [16]

    def train_epochs(self, run, D, data, epsilon, epsilon_vf):
        """The epochs of a rollout."""
        for _ in range(self.n_epochs):  # [7]
            for batch in D.batches(data, self.batch_size, self.rng["sample"]):
                metrics = self.update(*batch, epsilon, epsilon_vf)
                run.updated(metrics)
                if self.target_kl and to_host(metrics["approx_kl"].mean()) > 1.5 * self.target_kl:
                    return
        # [15]

    def update(self, s, a, A, R, logp_old, epsilon, epsilon_vf=None):
        weight = standardize(A) if self.normalize_advantage and len(A) > 1 else A

        def L_clip(theta):
            pi = self.pi(theta, s)
            log_ratio = pi.log_prob(a) - logp_old
            ratio = exp(log_ratio)  # [10]
            L = clipped_surrogate(ratio, weight, epsilon)  # [11]
            entropy = pi.entropy().mean()
            objective = L + self.ent_coef * entropy if self.ent_coef else L
            return -objective, (L, ratio, log_ratio, entropy)

        (_, (L, ratio, log_ratio, entropy)), g = value_and_grad(L_clip, has_aux=True)(self.theta)

        def L_V(phi):
            loss = clipped_mse(self.V(phi, s), R, A, epsilon_vf)
            return self.vf_coef * loss, loss

        (_, value_loss), h = value_and_grad(L_V, has_aux=True)(self.phi)
        self.clip_gradients(g, h)
        self.adam_theta.step(self.theta, g)  # [12]
        self.adam_phi.step(self.phi, h)  # [13, 14]
        self.share_layers()
        return {
            "policy_gradient_loss": -L,
            "value_loss": value_loss,
            "entropy_loss": -entropy,
            "approx_kl": ratio - 1 - log_ratio,
            "clip_fraction": abs(ratio - 1) > epsilon,
        }
