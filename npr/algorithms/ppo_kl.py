"""PPO-KL: several epochs per rollout; an adaptive KL penalty keeps the policy near the old one.

Schulman et al. 2017, eq. 8 and section 4; Heess et al. 2017, alg. 1; GAE: Schulman et al. 2016.

     1  initialize actor theta and critic phi
     2  penalty coefficient lambda
     3  number of iterations: from the budget of env steps
     4  number of epochs K
     5  rollout buffer D, emptied every iteration
     6  for each iteration:
     7      collect n_steps of every environment into D with theta_old <- theta
     8      for k = 1..K, for each shuffled minibatch:
     9          (once, before the epochs) R = A + V(phi, s)
    10          (once, before the epochs) A = GAE of r and V(phi, .)
    11          ratio = pi(theta)(a|s) / pi(theta_old)(a|s)
    12          L = mean [ratio A - lambda KL(pi(theta_old)(.|s) || pi(theta)(.|s))]
    13          theta <- one step up the gradient of L (and of the entropy, times ent_coef)
    14          critic:
    15          phi <- one step down the gradient of mean (V(phi, s) - R)^2
    16      end
    17      d = mean KL(pi(theta_old)(.|s) || pi(theta)(.|s)) over D; if d > kl_tol target_kl:
    18          lambda <- kl_scale lambda
    19      end
    20      if d < target_kl / kl_tol:
    21          lambda <- lambda / kl_scale
    22      end
    23  end

Departures from JoyRL's pseudocode: lambda is adapted once per iteration, after the epochs, as in
both papers; during the epochs, while d is still small, it would be halved K times (17-22). Ratio
and divergence are both means, so that lambda does not depend on the length of a rollout (12). The
divergence is KL(old || new) of the full distributions. 9 and 10 are computed once per rollout; 15
is a descent; the constants of 17-22 are those of Schulman et al.; D is not a replay buffer (5).
lambda stays in [1e-4, 1e2], and epochs end early if d > 4 target_kl. Advantages are normalized per
minibatch, both gradient norms are clipped, and truncated episodes bootstrap from the value of the
final observation.

Measured, mean return: CartPole-v1 500.0 in 100,000 steps (10 seeds); Acrobot-v1 -83.0 in 80,000
steps (10 seeds); Pendulum-v1 -153.0 in 100,000 steps (10 seeds); LunarLander-v3 223.6 in 1,000,000
steps (5 seeds); LunarLanderContinuous-v3 256.9 in 1,000,000 steps (5 seeds); HalfCheetah-v5 3,989
in 300,000 steps (3 seeds); Hopper-v5 2,369 in 300,000 steps (3 seeds); Walker2d-v5 1,733 in 300,000
steps (3 seeds).
"""

import numpy as np

from npr.algorithms.base import Algorithm
from npr.autodiff import exp, value_and_grad
from npr.backend import to_host
from npr.envs.spaces import ACTION_KINDS
from npr.errors import ConfigError
from npr.heads import policy_head
from npr.kernels import gae, standardize
from npr.losses import clipped_mse
from npr.optim import Adam
from npr.settings import ActorCritic, Proximal, setting
from npr.training.logger import explained_variance


class PPOKL(Proximal, ActorCritic, Algorithm):
    """Proximal policy optimization with a KL penalty, for all kinds of actions."""

    n_envs: int = 8
    n_steps: int = setting(256, "env steps per environment and rollout", within="[1, inf)")
    batch_size: int = setting(64, "steps per minibatch", within="[1, inf)")
    kl_coef: float = setting(1.0, "initial lambda", within="[1e-4, 100]", fixed=True)  # [2]
    target_kl: float = setting(0.01, "target KL divergence, in nats", within="(0, inf)")
    kl_tol: float = setting(1.5, "factor of target_kl at which lambda changes", within="(1, inf)")
    kl_scale: float = setting(2.0, "factor by which lambda changes", within="(1, inf)")
    n_epochs: int = setting(10, "epochs K per rollout", within="[1, inf)")  # [4]

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
        self.kl_weight = np.array([self.kl_coef])  # lambda, on the host

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
        for D in run.rollouts(self.n_steps, self.explore):  # [3, 5-7]
            self.set_learning_rate()
            s, a, r, s2, terminated, done = D.arrays()
            v, v2 = self.V(self.phi, s), self.V(self.phi, s2)
            A = gae(r, v, v2, terminated, done, self.gamma, self.gae_lambda)  # [10]
            R = A + v  # [9]
            data = [x.reshape(-1, *x.shape[2:]) for x in (s, a, A, R)]
            out_old = self.actor(self.theta, data[0])
            data += [self.head(out_old, self.mask(data[0])).log_prob(data[1]), out_old]
            d = self.train_epochs(run, D, data)
            self.adapt(d)
            run.logger.add(
                {
                    "approx_kl": d,
                    "kl_coef": self.kl_weight.item(),
                    "explained_variance": explained_variance(v, R, D.rows()),
                }
            )
        # [23]

    def train_epochs(self, run, D, data):
        """The epochs of a rollout; returns the KL divergence after the last one."""
        rows, epsilon_vf = D.rows(), self.now(self.clip_range_vf)
        for _ in range(self.n_epochs):  # [8]
            for batch in D.batches(data, self.batch_size, self.rng["sample"]):
                run.updated(self.update(*batch, self.kl_weight.item(), epsilon_vf))
            d = self.divergence(data[0][rows], data[-1][rows])
            if d > 4 * self.target_kl:
                break
        # [16]
        return d

    def divergence(self, s, out_old):
        """Mean KL(old || new) over states s, from the actor's outputs before the epochs."""
        return float(to_host(self.head(out_old, self.mask(s)).kl(self.pi(self.theta, s)).mean()))

    def adapt(self, d):
        """Adapt lambda towards a KL divergence of target_kl."""
        if d > self.kl_tol * self.target_kl:  # [17]
            self.kl_weight *= self.kl_scale  # [18, 19]
        elif d < self.target_kl / self.kl_tol:  # [20]
            self.kl_weight /= self.kl_scale  # [21, 22]
        np.clip(self.kl_weight, 1e-4, 1e2, out=self.kl_weight)

    def update(self, s, a, A, R, logp_old, out_old, kl_weight, epsilon_vf=None):
        weight = standardize(A) if self.normalize_advantage and len(A) > 1 else A
        old = self.head(out_old, self.mask(s))

        def L_KL(theta):
            pi = self.pi(theta, s)
            log_ratio = pi.log_prob(a) - logp_old
            ratio = exp(log_ratio)  # [11]
            L = (ratio * weight - kl_weight * old.kl(pi)).mean()  # [12]
            entropy = pi.entropy().mean()
            objective = L + self.ent_coef * entropy if self.ent_coef else L
            return -objective, (L, entropy)

        (_, (L, entropy)), g = value_and_grad(L_KL, has_aux=True)(self.theta)

        def L_V(phi):
            loss = clipped_mse(self.V(phi, s), R, A, epsilon_vf)
            return self.vf_coef * loss, loss

        (_, value_loss), h = value_and_grad(L_V, has_aux=True)(self.phi)
        self.clip_gradients(g, h)
        self.adam_theta.step(self.theta, g)  # [13]
        self.adam_phi.step(self.phi, h)  # [14, 15]
        self.share_layers()
        return {
            "policy_gradient_loss": -L,
            "value_loss": value_loss,
            "entropy_loss": -entropy,
        }
