"""Train a policy of 321 multiplications that holds a pendulum up, and write it for the examples.

policy.h is for the microcontrollers, policy.npz for the Raspberry Pi. Ten seconds.
"""

import npr

agent = npr.SAC("Pendulum-v1", net_arch=[16, 16], seed=0)
agent.learn(10_000)
print(agent.evaluate(seed=1))
for path in "policy.h", "policy.npz":
    print(agent.export(path))
