"""How long prefill and decode take on this machine, learned from what they took, and how much fits into a step."""

import math
from collections.abc import Sequence

GRID = 64
"""Chunks are multiples of this: few shapes, and kernels that fill their tiles."""
LEAST = 16
"""Tokens that a step always prefills."""
MARGIN = 0.9
"""Part of the allowed time that is planned with; the rest is for what the fit does not know."""

LEAST_SHARE = 0.05
"""Of a mixed step's time that its chunks are thought to take, however long decoding was expected to."""

_UNIT = 1024
"""Tokens are counted in these inside a fit, so that its coefficients are of one size."""
_FADE = 0.995
_SETTLED = 8


class Cost:
    """Seconds as a sum of features with learned coefficients, none negative.

    Least squares of the relative error, in which old measurements fade slowly, times a factor that follows the last
    few quickly: what a context costs is remembered while only short prompts come, a machine that throttles is noticed
    at once. `caution` per coefficient says which to doubt when measurements can't tell them apart.
    """

    def __init__(self, caution: Sequence[float]):
        size = len(caution)
        self._gram = [[0.0] * size for _ in range(size)]
        self._goal = [0.0] * size
        self._caution = list(caution)
        self._coefficients = [0.0] * size
        self._speed = 1.0
        self.count = 0

    def observe(self, features: Sequence[float], seconds: float) -> None:
        """One outlier (a kernel compiled on its first use) moves little: what is far off counts as threefold."""
        if self.count >= _SETTLED:
            expected = self.predict(features)
            seconds = min(max(seconds, expected / 3), expected * 3)
        scaled = [feature / seconds for feature in features]
        for row, feature in zip(self._gram, scaled, strict=True):
            row[:] = [_FADE * sum_ + feature * other for sum_, other in zip(row, scaled, strict=True)]
        self._goal = [_FADE * sum_ + feature for sum_, feature in zip(self._goal, scaled, strict=True)]
        self.count += 1
        self._coefficients = self._solve()
        plain = sum(c * f for c, f in zip(self._coefficients, features, strict=True))
        if plain > 0:
            self._speed += 0.2 * (min(max(seconds / plain, 1 / 3), 3.0) - self._speed)

    def predict(self, features: Sequence[float]) -> float:
        return sum(c * f for c, f in zip(self.coefficients, features, strict=True))

    @property
    def coefficients(self) -> list[float]:
        return [self._speed * coefficient for coefficient in self._coefficients]

    def _solve(self) -> list[float]:
        """Whichever comes out negative is left out, the worst first."""
        used = list(range(len(self._goal)))
        while used:
            found = _eliminate(
                [[self._gram[i][j] + (self._caution[i] if i == j else 0.0) for j in used] for i in used],
                [self._goal[i] for i in used],
            )
            worst = min(range(len(used)), key=found.__getitem__)
            if found[worst] >= 0:
                result = [0.0] * len(self._goal)
                for i, value in zip(used, found, strict=True):
                    result[i] = value
                return result
            del used[worst]
        return [0.0] * len(self._goal)


def _eliminate(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Solves a small symmetric positive definite system in place."""
    size = len(right)
    for i in range(size):
        for j in range(i + 1, size):
            factor = matrix[j][i] / matrix[i][i]
            for k in range(i, size):
                matrix[j][k] -= factor * matrix[i][k]
            right[j] -= factor * right[i]
    for i in reversed(range(size)):
        right[i] = (right[i] - sum(matrix[i][k] * right[k] for k in range(i + 1, size))) / matrix[i][i]
    return right


class Rates:
    """What the next step will take: a chunk of n tokens after x tokens of context takes f + a·n + b·n·(x + n/2) seconds
    (weights read, layers computed, attention), a decode step of r rows d + e·r.

    mixed: prompts prefill in the steps of rows that decode. What a chunk adds to such a step is learned by itself, for
    it costs less than a chunk alone: the weights are read anyway.
    """

    def __init__(self, *, mixed: bool = False) -> None:
        # Measurements of one chunk size can't tell f from a: believe in a, and a larger chunk is not thought free.
        self._alone = Cost((1.0, 1e-4, 1e-4))
        self._beside = Cost((1.0, 1e-4, 1e-4)) if mixed else self._alone
        self._decode = Cost((1e-4, 1e-4))
        self._largest = 0
        self._farthest = 0

    def observe(self, rows: int, chunks: Sequence[tuple[int, int]], seconds: float) -> None:
        """A step took so long that decoded so many rows and prefilled these chunks: tokens, and those that the
        sequence had before."""
        chunks = [chunk for chunk in chunks if chunk[0] > 0]
        if seconds <= 0:
            return
        if not chunks:
            if rows > 0:
                self._decode.observe((1.0, rows / 32), seconds)
            return
        if rows:
            seconds = max(seconds - self.decode(rows), seconds * LEAST_SHARE)
        features = [sum(each) for each in zip(*(_chunk(*chunk) for chunk in chunks), strict=True)]
        (self._beside if rows else self._alone).observe([1.0, *features[1:]], seconds)
        self._largest = max(self._largest, sum(tokens for tokens, _ in chunks))
        self._farthest = max(self._farthest, *(context + tokens for tokens, context in chunks))

    def decode(self, rows: int) -> float:
        """Seconds; 0.0 before anything was measured."""
        return self._decode.predict((1.0, rows / 32)) if rows else 0.0

    def prefill(self, tokens: int, context: int) -> float:
        """Seconds that a chunk takes by itself; 0.0 before anything was measured."""
        return self._alone.predict(_chunk(tokens, context))

    def beside(self, tokens: int, context: int, *, first: bool = True) -> float:
        """Seconds by which a chunk prolongs a step in which rows decode; 0.0 before anything was measured."""
        fixed, *rest = _chunk(tokens, context)
        return self._beside.predict((fixed if first or self._beside is self._alone else 0.0, *rest))

    def affordable(self, seconds: float, context: int) -> int:
        """Tokens that can be prefilled beside rows, after `context`, in that time. What lies far from anything
        measured is tried small first: at most twice the largest chunk, and one grid unit at a context more than twice
        as long."""
        if seconds <= 0:
            return 0
        if not self._beside.count or context > 2 * self._farthest + 2 * _UNIT:
            return GRID
        fixed, slope, bend = self._beside.coefficients
        left = seconds - fixed
        if left <= 0:
            return 0
        linear = slope + bend * context / _UNIT
        # The root of bend/2·k² + linear·k = left, in the form that stands bend = 0.
        divisor = linear + math.sqrt(linear * linear + 2 * bend * left)
        most = max(2 * self._largest, GRID)
        return most if divisor <= 0 else min(most, int(2 * left / divisor * _UNIT))


def _chunk(tokens: int, context: int) -> tuple[float, float, float]:
    return (1.0, tokens / _UNIT, tokens * (context + tokens / 2) / _UNIT**2)


class Budget:
    """What one step may still prefill: at most so many tokens and, while rows decode, so many seconds."""

    def __init__(self, rates: Rates, tokens: int, seconds: float | None, longest: float = math.inf):
        """longest: seconds beyond which not even a grid unit may take."""
        self._rates = rates
        self._tokens = tokens
        self._seconds = seconds
        self._longest = longest
        self._untouched = True

    def offer(self, wanted: int, context: int) -> int:
        """How many of the wanted tokens fit after so much context: all of them, or a multiple of the grid. The step's
        first gets at least one grid unit, or nothing would ever progress on a slow machine; behind so much context that
        this takes too long, a part of one."""
        most = min(wanted, self._tokens)
        if self._seconds is not None:
            most = min(most, self._rates.affordable(self._seconds, context))
        if most < wanted:
            most = most // GRID * GRID
            if self._untouched:
                most = max(most, min(wanted, self._least(context)))
        return most

    def _least(self, context: int) -> int:
        tokens = GRID
        while tokens > LEAST and self._seconds is not None and self._rates.beside(tokens, context) > self._longest:
            tokens //= 2
        return tokens

    def spend(self, tokens: int, context: int) -> None:
        if tokens:
            if self._seconds is not None:
                # Nothing is measured yet: one chunk, and no more in this step.
                self._seconds -= self._rates.beside(tokens, context, first=self._untouched) or self._seconds
            self._untouched = False
            self._tokens -= tokens

    def spend_ahead(self, tokens: int, seconds: float) -> bool:
        """These are prefilled by themselves, before the rows' step, if there is time for that."""
        if self._seconds is None or seconds > self._seconds:
            return False
        self._seconds -= seconds
        self._tokens -= tokens
        return True
