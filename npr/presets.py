"""Settings and budgets per algorithm and environment, chosen for wall-clock time on two CPU
cores: small networks where they suffice. Every value can be overridden in the constructor.
"""

PRESETS = {}


def find(algorithm: str, env_id: str | None) -> dict:
    """The preset of an environment: by its id, else by its name without version, else {}."""
    table = PRESETS.get(algorithm, {})
    if env_id in table:
        return table[env_id]
    name = (env_id or "").split("-v")[0]
    return next((preset for key, preset in table.items() if key.split("-v")[0] == name), {})
