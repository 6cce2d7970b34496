"""Q Actor-Critic: policy gradients with an action-value critic that is learned as in Sarsa.

Sutton and Barto 2018, section 13.5, with the action values of section 13.1.

     1  initialize actor theta and critic w
     2  for each iteration:
     3      collect n_steps of every environment with pi(theta): (s, a, r, s2, a2, terminated)
     4      critic:
     5      for t = n_steps - 1, ..., 0:
     6          delta = r_t + gamma (1 - terminated_t) Q(w, s_{t+1}, a_{t+1}) - Q(w, s_t, a_t)
     7          w <- one step down the gradient of 1/2 mean delta^2, the target held fixed
     8          continue with the previous step, whose target uses the updated w
     9      end
    10      theta <- one step up the gradient of mean [Q(w, s, a) - E Q(w, s, .)] log pi(theta)(a|s)
    11  end

Departures from JoyRL's pseudocode, which calls the section Advantage Actor Critic: its loop
iterates backwards, but its line 8 moves forwards (8). delta is the TD error of Sarsa, not an
advantage as stated there (6). terminated masks the target, and if no action follows (the last
step, a truncated episode), one is sampled from pi(theta) at the final observation (6). The mean
over actions is subtracted from Q (10), without which the gradient is very noisy; baseline=False
disables this. The sum over t was missing (10). Each critic step uses all environments.

Measured, mean return: CartPole-v1 500.0 in 150,000 steps (10 seeds).
"""

from npr.algorithms.base import Algorithm
from npr.autodiff import exp, value_and_grad
from npr.backend import xp
from npr.envs.spaces import ACTION_KINDS
from npr.heads import policy_head
from npr.optim import Adam, clip_norm
from npr.settings import ActorCritic, PolicyGradient, Schedule, setting


class QActorCritic(PolicyGradient, ActorCritic, Algorithm):
    """Actor-critic with action values, for all kinds of actions."""

    n_envs: int = 8
    learning_rate: Schedule = 1e-3
    n_steps: int = setting(32, "env steps per environment and update", within="[1, inf)")
    baseline: bool = setting(True, "subtract the mean over actions from Q")
    baseline_actions: int = setting(
        8, "samples for this mean if actions are not Discrete", within="[1, inf)"
    )
    ent_coef: float = 0.01

    networks = ("pi", "qf")
    rates = {"adam_theta": "actor_lr", "adam_w": "critic_lr"}
    action_kinds = ACTION_KINDS

    def build(self):
        rate = self.now(self.learning_rate)
        n, rng = self.observations.size, self.rng["init"]
        head = self.head = policy_head(self.actions)
        self.actor = self.network("pi", n, head.outputs, free=head.free)
        self.Q = self.action_critic(n)
        self.theta = self.actor.init(rng, "orthogonal", 0.01, self.log_std_init)  # [1]
        self.w = self.Q.init(rng, "orthogonal", 0.01)  # initially all actions have similar values
        self.adam_theta, self.adam_w = (
            Adam(self.theta, rate, eps=1e-5),
            Adam(self.w, rate, eps=1e-5),
        )

    def pi(self, theta, s):
        """The distribution of actions at s."""
        return self.head(self.actor(theta, s), self.mask(s))

    def mean_Q(self, w, s, pi, noises):
        """E Q(w, s, .) under pi: exact for Discrete actions, else the mean over one action per
        array of noise."""
        if self.actions.enumerable:
            return (exp(pi.logp) * self.Q(w, s)).sum(axis=-1)
        return sum(self.Q(w, s, pi.sample(noise)) for noise in noises) / len(noises)

    def acts_by(self):
        return self.head, self.actor, self.theta

    def values_by(self):
        return self.Q, self.w

    def noise(self, shape):
        """Noise for an action of every step, and for those of mean_Q."""
        sampled = self.baseline and not self.actions.enumerable
        n = 1 + (self.baseline_actions if sampled else 0)
        return [self.head.noise(self.rng["noise"], shape) for _ in range(n)]

    def _train(self, run):
        for D in run.rollouts(self.n_steps, self.explore):  # [2, 3]
            self.set_learning_rate()
            columns = D.arrays(*self.noise(D.r.shape))
            s, a, r, s2, terminated, done, noise2, *noises = columns
            a2 = self.pi(self.theta, s2).sample(noise2)  # used where no action follows
            follows = (done[:-1] == 0).reshape(*done[:-1].shape, *(1 for _ in a.shape[2:]))
            a2[:-1] = xp.where(follows, a[1:], a2[:-1])
            run.updated(self.update(s, a, r, s2, a2, terminated, D.mask(), noises))
        # [11]

    def update(self, s, a, r, s2, a2, terminated, valid, noises):
        for t in range(len(s) - 1, -1, -1):  # [4, 5]
            y = r[t] + self.gamma * (1 - terminated[t]) * self.Q(self.w, s2[t], a2[t])

            weight = valid[t] / xp.maximum(valid[t].sum(dtype=y.dtype), 1)

            def L(w, t=t, y=y, weight=weight):
                delta = y - self.Q(w, s[t], a[t])  # [6]
                return 0.5 * (weight * delta**2).sum()

            critic_loss, g = value_and_grad(L)(self.w)
            self.adam_w.step(self.w, clip_norm(g, self.max_grad_norm))  # [7]
            # [8, 9]

        q = self.Q(self.w, s, a)
        if self.baseline:
            q = q - self.mean_Q(self.w, s, self.pi(self.theta, s), noises)
        weight = valid / valid.sum(dtype=q.dtype)

        def minus_J(theta):
            pi = self.pi(theta, s)
            J = (weight * q * pi.log_prob(a)).sum()
            entropy = (weight * pi.entropy()).sum()
            objective = J + self.ent_coef * entropy if self.ent_coef else J
            return -objective, (J, entropy)

        (_, (J, entropy)), g = value_and_grad(minus_J, has_aux=True)(self.theta)
        self.adam_theta.step(self.theta, clip_norm(g, self.max_grad_norm))  # [10]
        return {"critic_loss": critic_loss, "policy_gradient_loss": -J, "entropy_loss": -entropy}
