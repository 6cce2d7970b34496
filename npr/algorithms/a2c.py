"""A2C: policy gradients every few steps, with advantages from a learned value function.

Mnih et al. 2016 (A3C), synchronous; Sutton and Barto 2018, section 13.5. A modern variant of
q_actor_critic.py.

     1  initialize actor theta and critic phi
     2  for each iteration:
     3      collect n_steps of every environment with pi(theta)
     4      A = GAE of r and V(phi, .): with gae_lambda = 1, n-step returns minus V(phi, s)
     5      R = A + V(phi, s)
     6      critic: L_V = mean (V(phi, s) - R)^2
     7      actor: L = mean A log pi(theta)(a|s)
     8      (and ent_coef times the entropy)
     9      phi <- one step down the gradient of L_V
    10      theta <- one step up the gradient of L
    11  end

Departures from JoyRL's pseudocode, which has a Q-critic: the critic is V, so that its TD error is
an advantage. The update equals that of PPO with one epoch, one minibatch and no clipping. Both
gradient norms are clipped; truncated episodes bootstrap from the value of the final observation.

Measured, mean return: CartPole-v1 497.5 in 100,000 steps (10 seeds); Acrobot-v1 -83.2 in 200,000
steps (10 seeds); Pendulum-v1 -168.3 in 600,000 steps (10 seeds); LunarLander-v3 65.5 in 200,000
steps (5 seeds); HalfCheetah-v5 927.9 in 300,000 steps (3 seeds); Hopper-v5 834.9 in 300,000 steps
(3 seeds); Walker2d-v5 595.1 in 300,000 steps (3 seeds).
"""

from npr.algorithms.base import Algorithm
from npr.autodiff import value_and_grad
from npr.envs.spaces import ACTION_KINDS
from npr.errors import ConfigError
from npr.heads import policy_head
from npr.kernels import gae, standardize
from npr.losses import mse
from npr.optim import Adam, RMSprop
from npr.settings import ActorCritic, Advantages, Schedule, setting


class A2C(Advantages, ActorCritic, Algorithm):
    """Advantage actor-critic, for all kinds of actions."""

    n_envs: int = 8
    learning_rate: Schedule = 7e-4
    gae_lambda: float = 1.0
    n_steps: int = setting(5, "env steps per environment and update", within="[1, inf)")
    normalize_advantage: bool = False
    use_rms_prop: bool = setting(True, "RMSprop instead of Adam", fixed=True)

    networks = ("pi", "vf")
    rates = {"optimiser_theta": "actor_lr", "optimiser_phi": "critic_lr"}
    action_kinds = ACTION_KINDS

    def check(self):
        if self.n_steps * self.n_envs < 2 and self.normalize_advantage:
            raise ConfigError(
                "A2C: one step of one environment has no standard deviation to normalize "
                "advantages by; use n_steps >= 2 or normalize_advantage=False."
            )

    def build(self):
        rate = self.now(self.learning_rate)
        n, rng = self.observations.size, self.rng["init"]
        head = self.head = policy_head(self.actions)
        self.actor = self.network("pi", n, head.outputs, free=head.free)
        self.critic = self.network("vf", n)
        self.theta = self.actor.init(rng, "orthogonal", 0.01, self.log_std_init)  # [1]
        self.phi = self.critic.init(rng, "orthogonal", 1.0)
        optimizer = RMSprop if self.use_rms_prop else Adam
        self.optimiser_theta = optimizer(self.theta, rate, eps=1e-5)
        self.optimiser_phi = optimizer(self.phi, rate, eps=1e-5)

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
        for D in run.rollouts(self.n_steps, self.explore):  # [2, 3]
            self.set_learning_rate()
            s, a, r, s2, terminated, done = D.arrays()
            v, v2 = self.V(self.phi, s), self.V(self.phi, s2)
            A = gae(r, v, v2, terminated, done, self.gamma, self.gae_lambda)  # [4]
            R = A + v  # [5]
            run.updated(self.update(*D.flat(s, a, A, R)))
        # [11]

    def update(self, s, a, A, R):
        if self.normalize_advantage and len(A) > 1:
            A = standardize(A)

        def L_V(phi):
            loss = mse(self.V(phi, s), R)  # [6]
            return self.vf_coef * loss, loss

        (_, value_loss), h = value_and_grad(L_V, has_aux=True)(self.phi)

        def minus_L(theta):
            pi = self.pi(theta, s)
            L, entropy = (A * pi.log_prob(a)).mean(), pi.entropy().mean()  # [7]
            objective = L + self.ent_coef * entropy if self.ent_coef else L  # [8]
            return -objective, (L, entropy)

        (_, (L, entropy)), g = value_and_grad(minus_L, has_aux=True)(self.theta)
        self.clip_gradients(g, h)
        self.optimiser_phi.step(self.phi, h)  # [9]
        self.optimiser_theta.step(self.theta, g)  # [10]
        return {
            "policy_loss": -L,
            "value_loss": value_loss,
            "entropy_loss": -entropy,
        }
