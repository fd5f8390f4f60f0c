"""The contract of variable types.

A message to a variable is the natural parameters of a density. So multiplying densities adds messages, and dividing by a
density subtracts its message. Arrays hold many variables: ``(*param_shape, n)``, or with a batch ``(*param_shape, n, B)``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from factorgraph.backends import HOST, Array, Backend
from factorgraph.semiring import Semiring, find_too_large
from factorgraph.variables.relations import Relations


class Plate(NamedTuple):
    """
    The arrays of a plate of variables, all of its shape.

    Attributes
    ----------
    prior, belief, message : natural parameters; the message is the sum of a block factor's
    mean, variance : of the belief, the mean damped
    """

    prior: Array
    belief: Array
    message: Array
    mean: Array
    variance: Array


class VariableType(ABC):
    """
    The kind of a variable: which values it has, and how a belief over it is written.

    An instance holds only settings. Instances with the same settings are equal, and all variables of a block share one.

    Attributes
    ----------
    param_shape : tuple of int
        Shape of one message; ``()`` for a single number.
    value_shape : tuple of int
        Shape of one value; ``()`` for a single number. If a value is several numbers, some may be unknown in evidence: NaN.
    can_be_random : bool
        False for types that are always observed.
    certainty_absorbs : bool
        Whether the parameters of certainty stay the same when finite parameters are added, as infinite fields do.
    proper_messages : bool
        Whether every message has mean parameters, so that messages can be damped in them.
    can_diverge : bool
        Whether messages may grow without limit where no factor is hard.
    has_scale : bool
        Whether the size of a change depends on the belief: see `change_size`. Otherwise, it is that of the parameter that
        changed most.
    squares_matter : bool
        False if the square of every value is 1, as for +-1. Then `from_quadratic` needs no curvature.
    """

    param_shape: tuple[int, ...] = ()
    value_shape: tuple[int, ...] = ()
    can_be_random: bool = True
    certainty_absorbs: bool = True
    proper_messages: bool = True
    can_diverge: bool = False
    has_scale: bool = False
    squares_matter: bool = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @abstractmethod
    def log_partition(self, params: Array, semiring: Semiring, infinite: Array | None = None) -> Array:
        """
        Log of the density's sum (or maximum) over the variable's values.

        Parameters
        ----------
        params : (*param_shape, n) natural parameters, or only their finite part if ``infinite`` is given
        semiring : Semiring
        infinite : the second result of `split`, or None if ``params`` contains everything

        Returns
        -------
        (n,) array; -inf if every value is ruled out
        """

    @abstractmethod
    def marginals(self, params: Array, backend: Backend) -> Array:
        """Beliefs in the user's terms, for example probabilities ``(q, n)``, from natural parameters ``(*param_shape, n)``."""

    @abstractmethod
    def mode(self, params: Array, backend: Backend) -> Array:
        """
        Most probable value of each variable, ``(*value_shape, n)``. If several are equally probable, the first one is taken.
        """

    @abstractmethod
    def observe(self, values: np.ndarray) -> np.ndarray:
        """
        Natural parameters of certainty: host parameters ``(*param_shape, n)`` from host values ``(*value_shape, n)``.

        Raises
        ------
        ValueError
            The variable cannot have one of the values. The message names it.
        """

    def certain_mode(self, params: Array, backend: Backend) -> Array:
        """Natural parameters of certainty at the most probable values, in the shape of ``params``."""
        return backend.asarray(self.observe(backend.to_host(self.mode(params, backend))))

    @abstractmethod
    def log_density(self, params: Array, values: np.ndarray, backend: Backend) -> Array:
        """Unnormalised log-density ``(n,)`` at host values ``(*value_shape, n)``: parameters times sufficient statistics."""

    def mean(self, params: Array, backend: Backend) -> Array:
        """Mean parameters, in which messages and beliefs may be damped, ``(*param_shape, n)``."""
        raise NotImplementedError(f"{self!r} has no mean parameters: damp in natural parameters")

    def from_mean(self, mean: Array, backend: Backend) -> Array:
        """Natural parameters from mean parameters; inverse of `mean`."""
        raise NotImplementedError(f"{self!r} has no mean parameters: damp in natural parameters")

    def mix_means(self, old: Array, new: Array, share: float | Array) -> Array:
        """Mean parameters of the mixture of two beliefs. ``share`` is the fraction of the second one."""
        return (1.0 - share) * old + share * new

    def relax_mean(self, mean: Array, params: Array, damping: float, backend: Backend) -> Array:
        """Return ``damping * mean + (1 - damping) * self.mean(params)``. The array ``mean`` may be overwritten."""
        return self.mix_means(mean, self.mean(params, backend), 1.0 - damping)

    def update(self, plate: Plate, power: float | None, reinforcement: float, damping: float, backend: Backend) -> Plate | None:
        """
        Update a plate's prior, belief, damped mean and variance in one pass. Types without such a pass return None, and single
        steps are done instead.

        Parameters
        ----------
        plate : Plate
            The arrays when the message of a block factor has come in. All but the message may be overwritten.
        power : float or None
            The new prior is the old belief times this number (the posterior becomes the prior). None leaves the prior as it is.
        reinforcement : float
            Fraction of the old belief that is added to the prior for this update.
        damping : float
            Fraction of the old mean that is kept.
        """
        return None

    def certainty(self, params: Array, backend: Backend) -> Array:
        """How certain each belief is, ``(n,)``; a larger number is more certain. Decimation uses this order."""
        raise NotImplementedError(f"{self!r} cannot be decimated")

    def variables_first(self, params: np.ndarray) -> np.ndarray:
        """
        Reorder host parameters from ``(*param_shape, *shape)`` to ``(*shape, *param_shape)``, the form that users give and
        receive.
        """
        axes = len(self.param_shape)
        return np.moveaxis(params, range(axes), range(-axes, 0))

    # What users call the values, where that is not the number that the engine computes with.

    def from_labels(self, values: Any) -> np.ndarray:
        """
        Convert values as users give them to numbers. By default, they are numbers already.

        Raises
        ------
        ValueError
            No value has that name.
        """
        return np.asarray(values)

    def to_labels(self, values: np.ndarray) -> np.ndarray:
        """Convert numbers of values to the names that users know. By default, they stay as they are."""
        return values

    def marginal_names(self) -> list[Any]:
        """Names of the entries of a marginal, such as the names of the states."""
        raise NotImplementedError(f"{self!r} has no names for its marginals")

    def relations(self, backend: Backend) -> Relations | None:
        """
        Operations on relations between two variables of the type, for forests of factors that have a `Factor.relation`.

        The default is None: long chains and deep trees then go one depth after the other.
        """
        return None

    # For types whose values are numbers.

    def expectation(self, mean: Array, backend: Backend) -> Array:
        """Expected value, ``(n,)``, from mean parameters. By default, it is the mean parameter, if that is one number."""
        return mean

    def expected_value(self, params: Array, backend: Backend) -> Array:
        """Expected value from natural parameters: what `Result.mean` shows."""
        return self.expectation(self.mean(params, backend), backend)

    def variance(self, mean: Array, backend: Backend) -> Array:
        """Variance, ``(n,)``, from mean parameters."""
        raise NotImplementedError(f"{self!r} has no variance")

    def from_quadratic(self, field: Array, curvature: Array | None, backend: Backend) -> Array:
        """
        Natural parameters of the message ``exp(field x - curvature x^2 / 2)``.

        Parameters
        ----------
        field : (n,)
        curvature : (n,); None only for types without `squares_matter`
        """
        raise NotImplementedError(f"the values of {self!r} are not numbers, so it takes no messages about numbers")

    def certain_mean(self, values: np.ndarray) -> np.ndarray:
        """Mean parameters of certainty: host arrays from host values ``(n,)``, for block factors that take data."""
        return np.asarray(self.mean(self.observe(values), HOST))

    def from_centre(self, params: Array, replicas: int, strength: float, backend: Backend) -> Array:
        """
        Message from the centre of replicas to one replica, if all others send what this one sends: see `Inference.focus`.

        Parameters
        ----------
        params : (*param_shape, n) belief of one replica without this message
        replicas : number of replicas, including this one
        strength : coupling to the centre
        """
        raise NotImplementedError(f"{self!r} cannot be focused, because it has no finite set of values")

    def normalize(self, params: Array, backend: Backend) -> Array:
        """
        Choose one representative of each density, for types where several parameters mean the same. The array may be
        overwritten.
        """
        return params

    def device_normalize(self) -> str | None:
        """
        `normalize` in C++: statements that change the array ``value``, the parameters of one message.

        If a type overrides `normalize` and leaves this None, messages to it are not part of fused programs.
        """
        return "" if type(self).normalize is VariableType.normalize else None

    def check_prior(self, params: np.ndarray) -> str | None:
        """Describe what is wrong with prior parameters ``(*param_shape, n)`` from a user, or return None."""
        return "NaN is not a natural parameter" if np.isnan(params).any() else None

    # Infinite natural parameters are certainty. To subtract one from a sum of several, they are counted apart.

    def split(self, params: Array, backend: Backend) -> tuple[Array, Array]:
        """
        Split parameters into a finite part ``(*param_shape, n)`` and counts of infinite terms ``(c, *param_shape, n)``. Both
        can be added and subtracted.

        NaN stands for a contradiction (positive and negative infinite terms together) and counts as both.
        """
        xp = backend.xp
        undefined = xp.isnan(params)
        signs = [xp.astype((params == sign * xp.inf) | undefined, backend.dtype) for sign in (1, -1)]
        return xp.where(xp.isfinite(params), params, xp.zeros_like(params)), xp.stack(signs)

    def join(self, finite: Array, infinite: Array, backend: Backend) -> Array:
        """Natural parameters from both parts; the inverse of `split`."""
        xp = backend.xp
        up, down = infinite[0, ...] > 0.5, infinite[1, ...] > 0.5
        certain = xp.where(up, xp.full_like(finite, xp.inf), xp.where(down, xp.full_like(finite, -xp.inf), finite))
        return xp.where(up & down, xp.full_like(finite, xp.nan), certain)

    def change_size(self, change: Array, belief: Array, backend: Backend) -> Array:
        """
        Size of the changes of messages, ``(n,)``, on the scale of the beliefs that they are part of, so that units do not
        matter.

        Parameters
        ----------
        change : (*param_shape, n) changes of messages
        belief : (*param_shape, n) natural parameters
        """
        raise NotImplementedError(f"{self!r} has no scale")

    def clamped(
        self, total: Array, infinite: Array | None, mask: Array, certain: Array, backend: Backend
    ) -> tuple[Array, Array | None]:
        """
        Beliefs after evidence is put in, in the two parts of `split`, or in one.

        Parameters
        ----------
        total, infinite : the beliefs without evidence; ``infinite`` is None if ``total`` contains everything
        mask : (n,) which variables are observed completely
        certain : (*param_shape, n) what `observe` returned
        """
        if infinite is None:
            return backend.xp.where(mask, certain, total), None
        finite, counts = self.split(certain, backend)
        # Evidence outweighs whatever a factor's own message takes out of the count.
        return backend.xp.where(mask, finite, total), backend.xp.where(mask, 1e6 * counts, infinite)


class DiscreteType(VariableType):
    """
    A variable with finitely many states.

    A subclass defines `states`, `log_weights` and `from_log_weights`. Everything else follows from them.

    Attributes
    ----------
    states : (q,) array
        The values that the variable can have, in the order of table axes and of marginals.
    """

    states: np.ndarray

    @abstractmethod
    def log_weights(self, params: Array, backend: Backend) -> Array:
        """
        Log-weight of each state, ``(q, n)``, from natural parameters.

        It is linear in finite parameters. If a parameter is infinite, the states that it rules out have -inf. The others have
        the weight of the finite parameters, or 1.
        """

    @abstractmethod
    def from_log_weights(self, log_weights: Array, backend: Backend) -> Array:
        """Natural parameters ``(*param_shape, n)`` from log-weights ``(q, n)``, which are known up to a constant."""

    def log_partition(self, params: Array, semiring: Semiring, infinite: Array | None = None) -> Array:
        weights = self.log_weights(params, semiring.backend)
        if infinite is not None:
            rules = self.join(semiring.xp.zeros_like(params), infinite, semiring.backend)
            weights = weights + self.log_weights(rules, semiring.backend)
        return semiring.sum(weights, axis=0)

    def expected_value(self, params: Array, backend: Backend) -> Array:
        """Expected value; of a type without mean parameters the mean of its states, which are numbers."""
        if type(self).mean is not VariableType.mean:
            return super().expected_value(params, backend)
        states, probabilities = backend.asarray(self.states), self.marginals(params, backend)
        return backend.xp.sum(backend.xp.reshape(states, (-1, *(1,) * (probabilities.ndim - 1))) * probabilities, axis=0)

    def marginals(self, params: Array, backend: Backend) -> Array:
        """Probability of each state, ``(q, n)``."""
        weights = self.log_weights(params, backend)
        return backend.xp.exp(weights - backend.xp.expand_dims(backend.log_sum_exp(weights, axis=0), axis=0))

    def mode(self, params: Array, backend: Backend) -> Array:
        """Most probable state; the first one if there are several."""
        best = backend.xp.argmax(self.log_weights(params, backend), axis=0)
        whole = np.issubdtype(self.states.dtype, np.integer)
        states = backend.index_array(self.states) if whole else backend.asarray(self.states)
        return backend.xp.reshape(backend.xp.take(states, backend.xp.reshape(best, (-1,)), axis=0), best.shape)

    def marginal_names(self) -> list[Any]:
        return list(self.to_labels(self.states).tolist())

    def certain_mode(self, params: Array, backend: Backend) -> Array:
        xp, weights = backend.xp, self.log_weights(params, backend)
        rows = backend.index_array(np.arange(len(self.states)).reshape(-1, *(1,) * (weights.ndim - 1)))
        impossible = xp.full_like(weights, -xp.inf)
        return self.from_log_weights(xp.where(rows == xp.argmax(weights, axis=0), xp.zeros_like(weights), impossible), backend)

    def from_centre(self, params: Array, replicas: int, strength: float, backend: Backend) -> Array:
        xp = backend.xp
        factor = math.expm1(2.0 * strength)  # of equal states over different ones, less 1
        others = (replicas - 1) * xp.log1p(factor * self.marginals(params, backend))
        centre = xp.exp(others - xp.expand_dims(backend.log_sum_exp(others, axis=0), axis=0))
        return self.from_log_weights(xp.log1p(factor * centre), backend)

    def certainty(self, params: Array, backend: Backend) -> Array:
        """Probability of the most probable state."""
        return backend.xp.max(self.marginals(params, backend), axis=0)

    def position(self, values: Any) -> np.ndarray:
        """
        Positions of the given values in `states`.

        Raises
        ------
        ValueError
            A value is not a state.
        """
        values, states = np.asarray(values), self.states
        order = states.argsort()
        found = order[np.minimum(states[order].searchsorted(values), len(order) - 1)]
        wrong = states[found] != values
        if wrong.any():
            where = np.unravel_index(np.argmax(wrong), wrong.shape)
            first, last = self.states[0].item(), self.states[-1].item()
            raise ValueError(
                f"{values[where].item()!r} is not a state of {self!r}, whose {len(self.states)} states are "
                f"{first!r} ... {last!r}"
            )
        return np.asarray(found)

    def observe(self, values: np.ndarray) -> np.ndarray:
        position = self.position(values)
        rows = np.arange(len(self.states)).reshape(-1, *(1,) * position.ndim)
        with np.errstate(invalid="ignore"):
            return np.asarray(self.from_log_weights(np.where(rows == position, 0.0, -np.inf), HOST))

    def log_density(self, params: Array, values: np.ndarray, backend: Backend) -> Array:
        weights = self.log_weights(params, backend)
        rows = np.arange(len(self.states)).reshape(-1, *(1,) * np.ndim(values))
        chosen = backend.mask_array(rows == self.position(values))
        chosen = backend.xp.reshape(chosen, (*chosen.shape, *(1,) * (weights.ndim - chosen.ndim)))
        return backend.xp.max(backend.xp.where(chosen, weights, backend.xp.full_like(weights, -backend.xp.inf)), axis=0)

    def check_prior(self, params: np.ndarray) -> str | None:
        problem = super().check_prior(params) or find_too_large(params)
        if problem is None and np.isneginf(self.log_weights(params, HOST).max(axis=0)).any():
            problem = "it rules out every state of a variable"
        return problem
