"""What a Tensor refuses, since its gradient would be lost without a message."""

from typing import Any, NoReturn


def not_differentiable(name: str) -> TypeError:
    return TypeError(
        f"{name} got a Tensor and cannot differentiate through it: use the function of the same "
        "name from npr.autodiff, or stop_gradient(tensor) where no gradient is wanted."
    )


class Guard:
    """The base class of Tensor: assignment, and conversions to other types, raise TypeError."""

    __slots__ = ()
    __array_ufunc__ = None  # so that `array * tensor` calls Tensor.__rmul__

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError(
            "A Tensor cannot be assigned to: build the new value with where, concatenate or stack."
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise TypeError(
            "A Tensor was turned into an array, which would lose its gradient. "
            "Use the functions of npr.autodiff on it, or stop_gradient(tensor) for its array."
        )

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> NoReturn:
        raise not_differentiable(f"np.{function.__name__}")

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "The truth of a Tensor is not differentiable: use where(condition, a, b), "
            "or stop_gradient(tensor) to branch on its value."
        )

    def __float__(self) -> NoReturn:
        raise TypeError(
            "float(tensor) inside a gradient would lose it. Return it with has_aux=True, "
            "or use stop_gradient(tensor)."
        )
