"""A page about a run: its results, and the trained agent at work. Any browser shows it.

    npr.report.write("runs/SAC_Pendulum-v1_seed0", "sac.html")

It is one HTML file, without a server and without a network: the policy is in it as its own
JavaScript export (npr.export), the environment as a JavaScript version that equals Gymnasium's step
for step. `gallery` puts several agents on one page. What is drawn is in the .mjs files of this
folder. It imports the layers below, and `export`, `loading` and `runs` beside it.
"""

from npr.report.page import gallery, write

__all__ = ["gallery", "write"]
