"""The memory of a device that does not suffice, on the strict double of CuPy."""

from support.processes import DOUBLE, run

START = """
import cupy, gc, glob, warnings
import numpy as np
import npr
from npr.backend import to_host
from npr.errors import BackendError

def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except BackendError as error:
        print(error, *getattr(error, "__notes__", []), sep="\\n")
        return error
    print("nothing was raised")

def arrays():
    gc.collect()
    return sum(isinstance(x, cupy.ndarray) for x in gc.get_objects())

settings = dict(seed=0, verbose=0, net_arch=[8], batch_size=64, n_steps=32, n_envs=2,
                learning_rate=1e-3)
"""
NEEDED = "The memory of the GPU does not suffice: Out of memory allocating "


def lines(code, folder):
    ran = run("-c", START + code, path=[DOUBLE], NPR_BACKEND="cupy")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_a_run_says_what_to_lower_and_saves_what_it_has_learned(tmp_path):
    message, note, *rest = lines(
        """
agent = npr.PPO("Pendulum-v1", **settings).learn(128)
held = to_host(agent.theta).tobytes()
agent.batch_size, cupy.largest_array = 20_000, 1_000  # observations fit, hidden layers do not
error = refused(agent.learn, 256)
cupy.largest_array = None
print(error.__cause__.__class__.__name__)
held_arrays = arrays()
del error
print(held_arrays - arrays())
file, = glob.glob("PPO-*-crash-*.npz")
saved = npr.load(file)
print(to_host(saved.theta).tobytes() == held, saved.num_timesteps)
saved.batch_size = 64
print(saved.learn().num_timesteps)
""",
        tmp_path,
    )
    assert message.startswith(NEEDED)
    assert "are free. Lower batch_size=20000, net_arch=[8], n_steps=32, n_envs=2, end " in message
    assert message.endswith("or unset NPR_BACKEND to run on the CPU.")
    assert note.startswith("At step 64 of 256 the agent was saved: npr.load('PPO-Pendulum-v1-crash")
    cause, held, *resumed = rest
    assert cause == "OutOfMemoryError"
    assert held == "0", "the exception holds no arrays of the calls that failed"
    assert resumed == ["True 64", "256"]


def test_an_agent_that_does_not_fit_is_not_built(tmp_path):
    (message,) = lines(
        """
cupy.largest_array = 100_000
refused(npr.PPO, "Pendulum-v1", **{**settings, "net_arch": [512, 512]})
""",
        tmp_path,
    )
    assert message.startswith(NEEDED) and "net_arch=[512, 512]" in message


def test_a_file_whose_agent_does_not_fit_is_not_called_invalid(tmp_path):
    (message,) = lines(
        """
npr.PPO("Pendulum-v1", **settings).save("agent.npz")
cupy.largest_array = 10
refused(npr.load, "agent.npz")
""",
        tmp_path,
    )
    assert message.startswith(NEEDED) and "net_arch=[8]" in message


def test_memory_that_only_others_than_the_pool_lack_is_explained_too(tmp_path):
    pinned, driver, cublas, other = lines(
        """
from npr.system.memory import explain_full_device
from npr.system.staging import downloads
from support.on_the_double import no_pinned_memory

def download():
    with explain_full_device(settings), no_pinned_memory():
        downloads.ask(cupy.zeros(3, np.float32)).get()

def fails(text):
    with explain_full_device({}):
        raise cupy.cuda.runtime.CUDARuntimeError(text)

refused(download)
refused(fails, "cudaErrorMemoryAllocation: out of memory")
refused(fails, "CUBLAS_STATUS_ALLOC_FAILED")
try:
    fails("cudaErrorInvalidValue: invalid argument")
except RuntimeError as error:
    print(error)
""",
        tmp_path,
    )
    assert pinned.startswith("The pinned memory of the host does not suffice: Out of pinned memory")
    assert "Lower batch_size=64, " in pinned and "GPU" not in pinned
    for message in (driver, cublas):
        assert message.startswith("The memory of the GPU does not suffice: ")
        assert "are free. Lower the size of the batch or of the network, end " in message
    assert other == "cudaErrorInvalidValue: invalid argument"
