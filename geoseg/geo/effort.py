"""How long a scene takes at the very least, from its size alone."""

from __future__ import annotations

from geoseg.errors import InputError

__all__ = ["NETWORK_MPX_S", "TRACING_MPX_S", "check_effort", "shortest_days"]

#: Megapixels a second that no single machine gets through a network, and through tracing or comparing.
NETWORK_MPX_S, TRACING_MPX_S = 100.0, 1000.0
_MONTH_DAYS = 30.0


def shortest_days(height: int, width: int, mpx_s: float) -> float:
    """Days that a scene takes at a speed.

    Parameters
    ----------
    height, width
        Pixels.
    mpx_s
        Megapixels a second.

    Examples
    --------
    >>> round(shortest_days(40_000_000, 40_000_000, 100), 1), shortest_days(0, 5, 100)
    (185.2, 0.0)
    """
    return height * width / (mpx_s * 1e6) / 86_400


def check_effort(height: int, width: int, mpx_s: float, name: str) -> None:
    """Refuse a scene that could not end in a month, such as a VRT that declares 1e9 x 1e9 pixels.

    Raises
    ------
    InputError
        With the estimate.
    """
    days = shortest_days(height, width, mpx_s)
    if days > _MONTH_DAYS:
        length = f"{days:,.0f} days" if days < 730 else f"{days / 365:,.0f} years"
        raise InputError(
            f"scene must be small enough to end in {_MONTH_DAYS:g} days, got {name} of {width} x {height} "
            f"pixels, which takes at least {length}. Check its size with geoseg info, or take a part of it "
            "(--bbox)."
        )
