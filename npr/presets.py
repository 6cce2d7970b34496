"""Settings and budgets per algorithm and environment, chosen for wall-clock time on two CPU
cores: small networks where they suffice. Every value can be overridden in the constructor.
"""

_DQN = {
    "CartPole-v1": {
        # no longer: once every episode is long, replay forgets what falling is like
        "total_timesteps": 20_000, "learning_rate": "linear:2e-3", "n_step_return": 4,
        "double": True, "batch_size": 128, "gradient_steps": 4, "target_update_interval": 200,
        "exploration_fraction": 0.3, "exploration_final_eps": 0.1,
    },
    "Acrobot-v1": {
        "total_timesteps": 30_000, "learning_rate": "linear:2e-3", "n_step_return": 3,
        "double": True, "gradient_steps": 2, "target_update_interval": 200,
    },
}  # fmt: skip

PRESETS: dict[str, dict] = {
    "QLearning": {
        "CliffWalking-v1": {
            "total_timesteps": 20_000, "learning_rate": 0.5, "gamma": 1.0,
            "exploration_initial_eps": 0.1, "exploration_final_eps": 0.1,
            "max_episode_steps": 500,
        },
        "FrozenLake-v1": {
            "total_timesteps": 300_000, "learning_rate": "linear:0.1:0.01", "gamma": 0.99,
            "exploration_final_eps": 0.01,
        },
        "Taxi-v4": {
            "total_timesteps": 300_000, "learning_rate": 0.5, "gamma": 0.99,
        },
    },
    "Sarsa": {
        "CliffWalking-v1": {
            "total_timesteps": 50_000, "learning_rate": "linear:0.5:0.05", "gamma": 1.0,
            "exploration_initial_eps": 0.1, "exploration_final_eps": 0.1,
            "max_episode_steps": 500,
        },
        "FrozenLake-v1": {
            "total_timesteps": 300_000, "learning_rate": "linear:0.1:0.01", "gamma": 0.99,
            "exploration_final_eps": 0.01,
        },
        "Taxi-v4": {
            "total_timesteps": 300_000, "learning_rate": "linear:0.5:0.05", "gamma": 0.99,
            "exploration_final_eps": 0.01,
        },
    },
    "DQN": _DQN,
    "PERDQN": _DQN,
    "PPO": {
        "CartPole-v1": {
            "total_timesteps": 60_000, "n_steps": 32, "batch_size": 256, "n_epochs": 20,
            "learning_rate": "linear:1e-3", "gamma": 0.98, "gae_lambda": 0.8,
            "clip_range": "linear:0.2",
        },
        "Acrobot-v1": {
            "total_timesteps": 80_000, "n_steps": 64, "batch_size": 128, "n_epochs": 8,
            "learning_rate": "linear:2e-3", "gae_lambda": 0.94,
        },
        "Pendulum-v1": {
            "total_timesteps": 100_000, "n_steps": 128, "batch_size": 128,
            "learning_rate": "linear:1e-3", "gamma": 0.9,
        },
    },
    "DDPG": {
        "Pendulum-v1": {
            "total_timesteps": 10_000, "net_arch": [64, 64], "batch_size": 100, "gamma": 0.98,
            "learning_starts": 500,
        },
    },
    "TD3": {
        "Pendulum-v1": {
            "total_timesteps": 10_000, "net_arch": [64, 64], "batch_size": 100, "gamma": 0.98,
            "learning_starts": 500,
        },
    },
    "SAC": {
        "Pendulum-v1": {
            "total_timesteps": 5_000, "learning_rate": 1e-3, "net_arch": [64, 64],
            "batch_size": 100, "learning_starts": 500,
        },
    },
}  # fmt: skip


def find(algorithm: str, env_id: str | None) -> dict:
    """The preset of an environment: by its id, else by its name without version, else {}."""
    table = PRESETS.get(algorithm, {})
    if env_id in table:
        return table[env_id]
    name = (env_id or "").split("-v")[0]
    return next((preset for key, preset in table.items() if key.split("-v")[0] == name), {})
