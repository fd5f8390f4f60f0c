"""
Your own factor and variable types
==================================

A factor type can be given in three forms: as a function of the states, as the log of a local sum, or as messages at full
speed. Each form ends with a check that compares it with enumeration, and says in words what is wrong if something is. A
variable type, and a factor that works on whole arrays of variables, follow.
"""

# %% A function of the states: the engine tabulates it.
import numpy as np

import factorgraph as fg
from factorgraph.testing import check_factor, check_variable


class Distance(fg.Factor):
    """Categorical variables that like to be near each other, each pair in its own measure."""

    arity = 2

    def __init__(self, strength):
        self.strength = np.asarray(strength, dtype=float)  # a number, or one for each factor

    def log_potential(self, x, y):
        return -self.strength * np.abs(x - y)


check_factor(Distance([0.5, 1.0, 2.0]), fg.Categorical(4), fg.Categorical(4))


# %% The log of the local sum: the engine gets each message by clamping one port to one state at a time.
class Agreement(fg.Factor):
    """Two spins that agree: the same as `fg.Ising`, from its partition function."""

    arity = 2

    def __init__(self, coupling):
        self.coupling = np.asarray(coupling, dtype=float)

    def parameters(self, types, count):
        return {"coupling": np.atleast_1d(self.coupling)}

    def log_partition(self, incoming, parameters, semiring):
        x, y = (fg.Spin().log_weights(field, semiring.backend) for field in incoming)
        equal = semiring.add(x[0, ...] + y[0, ...], x[1, ...] + y[1, ...])
        unequal = semiring.add(x[0, ...] + y[1, ...], x[1, ...] + y[0, ...])
        return semiring.add(parameters["coupling"] + equal, unequal - parameters["coupling"])


check_factor(Agreement([0.5, -1.0, 2.0]), fg.Spin(), fg.Spin())


# %% The messages themselves, at full speed: here in O(q) where a table costs O(q^2).
class Different(fg.Factor):
    """Categorical variables that must differ (colouring): a message is the sum of all other states."""

    arity = 2

    def log_potential(self, x, y):  # for the log-partition and the joint beliefs; messages do not use it
        return np.where(x == y, -np.inf, 0.0)

    def messages(self, incoming, parameters, ports, semiring):
        return [self._all_but_one(incoming[1 - port], semiring) for port in ports]

    @staticmethod
    def _all_but_one(weights, semiring):
        states = range(weights.shape[0])
        rows = []
        for state in states:
            others = [weights[other, ...] for other in states if other != state]
            total = others[0]
            for other in others[1:]:
                total = semiring.add(total, other)
            rows.append(total)
        return semiring.xp.stack(rows)


check_factor(Different(), fg.Categorical(3), fg.Categorical(3))


# %% A variable type: what its states are, and how natural parameters weigh them.
class Grade(fg.DiscreteType):
    """Grades A to C, as the numbers 1 to 3; the natural parameters are log-weights."""

    states = np.array([1, 2, 3])
    param_shape = (3,)

    def log_weights(self, params, backend):
        return params

    def from_log_weights(self, log_weights, backend):
        return log_weights


check_variable(Grade())

# %% All of them in one graph.
graph = fg.FactorGraph()
colour = graph.add_variables("colour", fg.Categorical(3), shape=(4,))
grade = graph.add_variables("grade", Grade(), shape=(4,))
graph.add_factors("different", Different(), colour[:-1], colour[1:])
graph.add_factors("taste", fg.Table(lambda c, g: 0.8 * (c + 1 == g)), colour, grade)
graph.observe(grade[0], 1)

result = fg.run(graph)
print(graph)
print(result)
print("colours:", result.marginals(colour).round(3).tolist())

# %% The beliefs, as bars in the variables: the observed one has a thick rim.
try:
    fg.draw(graph, result, file="custom_factor.png")
    print("picture: custom_factor.png")
except ImportError:  # pictures need matplotlib
    pass
