"""Settings that several algorithms share, by topic. An algorithm derives from the groups that it
uses and may change their defaults.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from npr.backend import FLOAT, Array, to_device, to_host
from npr.critics import OwnCritic, critic
from npr.errors import ConfigError, NumericsError
from npr.nn import MLP, shortened
from npr.optim import clip_joint_norm, clip_norm
from npr.own_network import BoundNetwork, OwnNetwork
from npr.settings.schedule import Schedule
from npr.settings.setting import Activation, NetArch, Settings, setting


def _new_floats(shape: tuple[int, ...]) -> np.ndarray:
    return np.empty(shape, FLOAT)


class Networks(Settings):
    """Multi-layer perceptrons."""

    net_arch: NetArch = setting(
        [64, 64],
        "hidden widths, of all networks or by name; by name also a network of your own: an object "
        "with size, init(rng) and __call__(theta, *inputs)",
        fixed=True,
    )
    activation: Activation = setting(
        "relu",
        "activation of the hidden layers; a list has one for each, a dict one or a list by network",
        fixed=True,
    )
    layer_norm: bool = setting(
        False, "normalize hidden layers before the activation (LayerNorm)", fixed=True
    )

    def widths(self, network: str) -> list[int] | OwnNetwork:
        """The hidden widths of one network, or the user's own network."""
        return self.net_arch[network] if isinstance(self.net_arch, dict) else self.net_arch

    def network(
        self: Any,
        name: str,
        inputs: int | Sequence[int],
        outputs: int | None = None,
        **options: Any,
    ) -> MLP | BoundNetwork:
        """The network with this name: its hidden layers are set here, the others by nn.MLP's
        options. The mask of actions at the end of observations is no input."""
        hidden = self.widths(name)
        if isinstance(hidden, OwnNetwork):
            return BoundNetwork(hidden, name, inputs, outputs, ignored=self.mask_size, **options)
        return MLP(inputs, hidden, outputs, **self._layers(name), **options)

    def action_critic(self: Any, n: int, rows: int | None = None) -> MLP | OwnCritic:
        """The network Q(theta, s, a), for n numbers per observation."""
        hidden = self.widths("qf")
        if isinstance(hidden, OwnNetwork):
            return OwnCritic(hidden, n, self.actions, rows=rows, ignored=self.mask_size)
        return critic(n, self.actions, hidden, rows=rows, **self._layers("qf"))

    def _layers(self: Any, name: str) -> dict[str, Any]:
        """Options of nn.MLP for one network."""
        by_network = isinstance(self.activation, dict)
        return {
            "activation": self.activation[name] if by_network else self.activation,
            "layer_norm": self.layer_norm, "ignored": self.mask_size,
        }  # fmt: skip


class ActorCritic(Settings):
    """Learning rates of an actor and a critic.

    rates   attribute of each optimizer -> the setting that it follows; None: learning_rate
    """

    actor_lr: Schedule | None = setting(
        None, "step size of the actor's optimizer; None: learning_rate", within="[0, 10]"
    )
    critic_lr: Schedule | None = setting(
        None, "step size of the critics' optimizers; None: learning_rate", within="[0, 10]"
    )

    rates: ClassVar[dict[str, str]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        given = getattr(cls, "rates", {})
        if not {"actor_lr", "critic_lr"} <= set(given.values()) <= set(cls.settings):
            raise TypeError(
                f"{cls.__name__}.rates must say which optimizers follow actor_lr and critic_lr, "
                f"got {given}."
            )


class Replay(Networks):
    """Off-policy learning from a replay buffer."""

    buffer_size: int = setting(1_000_000, "capacity in transitions", within="[1, inf)", fixed=True)
    learning_starts: int = setting(100, "env steps before the first update", within="[0, inf)")
    batch_size: int = setting(256, "transitions per update", within="[1, inf)")
    train_freq: int = setting(1, "env steps between rounds of updates", within="[1, inf)")
    gradient_steps: int = setting(1, "updates per round; -1: one per env step", within="[-1, inf)")
    n_step_return: int = setting(
        1, "env steps of rewards in a target before bootstrapping", within="[1, inf)", fixed=True
    )
    tau: float = setting(
        0.005,
        "soft-update coefficient of the target network; 1 copies",
        within="[0, 0.5] or 1",
        hint=" for a copy; tau is 1 - polyak, did you swap them?",
    )
    max_lag: int = setting(
        100, "with n_workers: updates that an action may be older than", within="[1, inf)"
    )

    off_policy: ClassVar[bool] = True

    def explore(self: Any, s: np.ndarray) -> np.ndarray:
        """The actions (n, ...) of a step at s (n, size): uniformly random ones until
        learning_starts, then those of `choose`, with the noise of `disturbance` if there is one."""
        rng, n = self.rng["explore"], len(s)
        if self.counters.num_timesteps < self.learning_starts:
            drawn: np.ndarray = self.actions.uniform(rng, n, self.mask(s))
            return drawn
        head, *_ = self.acts_by()
        a: np.ndarray = to_host(self.choose(to_device(s), to_device(head.noise(rng, (n,)))))
        disturbance = vars(self).get("disturbance")
        if disturbance is not None:
            a = np.clip(a + disturbance(rng, self.envs.episode), -1, 1)
        return a

    def choose(self: Any, s: Array, *noise: Any) -> Array:
        """Actions (n, ...) at s (n, size), both on the device, from noise: for `explore` of this
        group, the random numbers (n, ...) of `head.noise`. It is captured, and so must depend on
        nothing else but parameters.

        Raises NotImplementedError in an algorithm that has neither this nor its own `explore`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} needs a method choose(s, noise), which returns the actions at "
            "s, or an explore(s) of its own."
        )

    def normal(self: Any, *shape: int) -> np.ndarray:
        """Standard normal numbers for an update, on the host. They are valid until the next ones of
        this shape, which are written to the same memory."""
        drawn: np.ndarray = self._normal.used(shape, _new_floats)
        self.rng["noise"].standard_normal(dtype=FLOAT, out=drawn)
        return drawn


class Critics(Settings):
    """Several critics, and how many of them a target asks."""

    n_critics: int = setting(
        2, "critics, of which the target uses the minimum", within="[1, inf)", fixed=True
    )
    n_target_critics: int | None = setting(
        None,
        "critics of a target, drawn for each update; the actor then uses the mean of all (REDQ); "
        "None: all",
        within="[1, inf)",
    )

    def check(self) -> None:
        super().check()
        if (self.n_target_critics or 1) > self.n_critics:
            raise ConfigError(
                f"{type(self).__name__}: n_target_critics={self.n_target_critics} is more than "
                f"n_critics={self.n_critics}; a target uses some of them, or all."
            )

    def target_critics(self: Any) -> np.ndarray | None:
        """The critics (n_target_critics,) of the next target, distinct and in random order; None:
        all. Chen et al. 2021, algorithm 1."""
        if self.n_target_critics is None:
            return None
        drawn: np.ndarray = self.rng["noise"].permutation(self.n_critics)[: self.n_target_critics]
        return drawn


class TargetNetwork(Settings):
    """A target network that is updated at intervals."""

    target_update_interval: int = setting(
        1_000, "env steps between updates of the target network", within="[1, inf)"
    )


class EpsilonGreedy(Settings):
    """Random actions with a probability that decreases linearly."""

    exploration_initial_eps: float = setting(1.0, "initial epsilon", within="[0, 1]")
    exploration_final_eps: float = setting(
        0.05, "final epsilon, after exploration_fraction of the budget", within="[0, 1]"
    )
    exploration_fraction: float = setting(
        0.5, "fraction of the budget over which epsilon decreases", within="[0, 1]"
    )

    @property
    def epsilon(self: Any) -> float:
        """The current probability of a random action."""
        fraction = self.counters.progress / (self.exploration_fraction or 1e-9)
        first, last = self.exploration_initial_eps, self.exploration_final_eps
        epsilon: float = first + (last - first) * (fraction if fraction < 1.0 else 1.0)
        return epsilon

    def epsilon_greedy(self: Any, q: np.ndarray) -> int:
        """A random action with probability epsilon, else the argmax of q (K,). Ties are broken at
        random. With action_masks, one of value -inf is never chosen.

        Raises NumericsError if the largest value is not a number.
        """
        chance, draw = self.rng["explore"].random(2).tolist()  # the same as one after the other
        if chance < self.epsilon:
            if not self.action_masks:
                return int(draw * len(q))
            allowed = np.flatnonzero(q > -np.inf)
            return int(allowed[int(draw * len(allowed))])
        a, values = int(q.argmax()), q.tolist()  # a list is faster to search, if there are few
        largest = values[a]
        if largest != largest:  # argmax finds NaN first
            raise NumericsError(
                f"The action values {q} are not numbers: training has diverged. Lower "
                "learning_rate, or check the scale of rewards."
            )
        for _ in range(int(draw * values.count(largest))):
            a = values.index(largest, a + 1)
        return a


class PolicyGradient(Networks):
    """A stochastic policy that is learned by policy gradients."""

    activation: Activation = "tanh"
    ent_coef: float = setting(0.0, "weight of the entropy in the objective", within="[0, inf)")
    max_grad_norm: float = setting(0.5, "maximum norm of each gradient", within="(0, inf)")
    log_std_init: float = setting(
        0.0, "initial log standard deviation of the Gaussian", within="[-20, 2]", fixed=True
    )

    def explore(self: Any, s: np.ndarray) -> np.ndarray:
        """The actions (n, ...) of a step at s (n, size), drawn from the policy."""
        noise = self.head.noise(self.rng["explore"], (len(s),))
        a: np.ndarray = to_host(self.choose(to_device(s), to_device(noise)))
        return a

    def choose(self: Any, s: Array, noise: Array) -> Array:
        """Actions (n, ...) at s (n, size), both on the device, from the random numbers (n, ...) of
        `head.noise`. It is captured, and so must depend on nothing else but parameters."""
        return self.pi(self.theta, s).choose(noise)


class Advantages(PolicyGradient):
    """Advantages from a state-value critic."""

    gae_lambda: float = setting(0.95, "lambda of GAE, per env step", within="[0, 1]")
    vf_coef: float = setting(
        0.5, "weight of the critic's loss, before gradient clipping", within="[0, inf)"
    )
    normalize_advantage: bool = setting(True, "standardize the advantages of each batch")
    joint_clip: bool = setting(
        False, "clip one norm over the gradients of actor and critic, as Stable-Baselines3 does"
    )

    def clip_gradients(self: Any, g: Array, h: Array) -> None:
        """Clip the gradients g of the actor and h of the critic, in place."""
        if self.joint_clip:
            clip_joint_norm(g, h, self.max_grad_norm)
        else:
            clip_norm(g, self.max_grad_norm)
            clip_norm(h, self.max_grad_norm)


class Proximal(Advantages):
    """Options of PPO's critic and gradients that are not in the papers. phi is the critic's vector,
    and `actor` and `critic` are the networks."""

    clip_range_vf: Schedule | None = setting(
        None, "how far a value may move in a rollout; None: the critic's loss is not clipped",
        within="[0, inf)",
    )  # fmt: skip
    vf_share_layers: bool = setting(
        False, "actor and critic have the same hidden layers, and one norm is clipped", fixed=True
    )

    def check(self) -> None:
        super().check()
        pi = self.widths("pi")
        alike = pi == self.widths("vf") and not isinstance(pi, OwnNetwork)
        if isinstance(self.activation, dict):
            alike &= shortened(self.activation["pi"]) == shortened(self.activation["vf"])
        if self.vf_share_layers and not alike:
            raise ConfigError(
                f"{type(self).__name__}: vf_share_layers=True needs equal hidden layers of pi and "
                f"vf, got net_arch={self.net_arch} and activation={self.activation!r}."
            )

    def share_layers(self: Any) -> None:
        """With vf_share_layers: copy the actor's hidden layers to phi."""
        for of_theta, of_phi in self._shared:
            self.phi[of_phi] = self.theta[of_theta]

    def clip_gradients(self: Any, g: Array, h: Array) -> None:
        """Clip the gradients g in theta and h in phi, in place. With vf_share_layers g gets what h
        has of the shared layers."""
        for of_theta, of_phi in self._shared:
            shared, other = g[of_theta], h[of_phi]
            shared += other
            other[...] = 0
        if self.vf_share_layers:
            clip_joint_norm(g, h, self.max_grad_norm)
        else:
            super().clip_gradients(g, h)

    @property
    def _shared(self: Any) -> list[tuple[slice, slice]]:
        """Where theta and phi have the parameters that are shared: layers, and gains of these."""
        if not self.vf_share_layers:
            return []
        *sizes, last = self.actor.sizes
        n, output = sum((n + 1) * m for n, m in zip(sizes, sizes[1:])), sizes[-1] + 1
        shared = [(slice(n), slice(n))]
        if self.layer_norm:
            first = n + output * last
            shared.append((slice(first, first + sum(sizes[1:])), slice(n + output, None)))
        return shared
