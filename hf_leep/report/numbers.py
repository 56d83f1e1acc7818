"""The numbers of report.json: a type for each range that a number can have."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from annotated_types import Ge, Gt, Le, Len

Number: TypeAlias = Annotated[float, Ge(-1e100), Le(1e100)]  # so that differences and squares of them are finite
NonNegative: TypeAlias = Annotated[float, Ge(0), Le(1e100)]
Positive: TypeAlias = Annotated[float, Gt(0), Le(1e100)]
Logarithm: TypeAlias = Annotated[float, Ge(-1e100), Le(700.0)]  # so that its exponential is finite
Share: TypeAlias = Annotated[float, Ge(0), Le(1.001)]  # as far from 1 as the sum of a row of probabilities can be
AtMostOne: TypeAlias = Annotated[float, Ge(-1e100), Le(1.001)]
Correlation: TypeAlias = Annotated[float, Ge(-1), Le(1)]

Count: TypeAlias = Annotated[int, Ge(0)]
Position: TypeAlias = Annotated[int, Ge(0)]  # from 0
Rank: TypeAlias = Annotated[int, Ge(1)]  # from 1

Interval: TypeAlias = Annotated[list[Number], Len(2, 2)]
CorrelationInterval: TypeAlias = Annotated[list[Correlation], Len(2, 2)]
RankInterval: TypeAlias = Annotated[list[Rank], Len(2, 2)]
