"""An engine whose actors are in this process: fast, and calls fail where a test says so."""

import pickle

import numpy as np

from npr.backend import FLOAT
from npr.distributed.actor import Actor, Block, rows_of
from npr.distributed.actors import wait
from npr.distributed.engine import WorkerLostError


class LocalEngine:
    """An Engine. lost: numbers of actors that are lost at their next call; before_receive(i):
    called where a signal could stop the wait for an answer of actor i."""

    def __init__(self, n_workers, size, spec):
        self.weights, self.published = np.zeros((2, size), FLOAT), 0
        self.actors, self.answers = [None] * n_workers, [[] for _ in range(n_workers)]
        self.columns, self.spec = [{} for _ in range(n_workers)], spec
        self.lost, self.before_receive = set(), lambda i: None

    def start(self, i, setup):
        setup = sent(setup)
        self.lost.discard(i)
        self.actors[i], self.answers[i] = Actor(setup, self.weights.__getitem__), []
        self.columns[i] = {
            name: np.empty((rows_of(name, setup.steps), setup.n, *shape[1:]), dtype)
            for name, (shape, dtype) in self.spec.items()
        }

    def publish(self, weights):
        self.published = 1 - self.published
        self.weights[self.published] = weights
        return self.published

    def send(self, i, method, *args):
        if i in self.lost:
            raise WorkerLostError("it was lost")
        args = sent(args)
        try:
            if method == "collect":
                block = self.actors[i].collect(*args, self.columns[i])
                answer = sent(block._replace(columns={}))
            else:
                answer = sent(getattr(self.actors[i], method)(*args))
        except Exception as error:
            answer = error
        self.answers[i].append(answer)

    def receive(self, i, stop):
        if i in self.lost:
            raise WorkerLostError("it was lost")
        if stop is not wait:  # which stands for no reason to stop
            self.before_receive(i)
        answer = self.answers[i].pop(0)
        return answer._replace(columns=self.columns[i]) if isinstance(answer, Block) else answer

    def interrupt(self):
        pass

    def close(self):
        self.actors = []


def sent(value):
    """What another process would get."""
    return pickle.loads(pickle.dumps(value))
