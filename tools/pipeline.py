"""Neighbouring stages side by side in threads, in order and with bounded queues.

Decoding, ONNX Runtime, OpenCV and encoding release the interpreter's lock, so two processors
are kept busy; the order of frames, and with it every result, stays as without threads.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_END = object()


def prefetch(items: Iterable[T], depth: int = 4) -> Iterator[T]:
    """Yield from ``items``, reading up to ``depth`` ahead in a thread; its errors come out here."""
    box: queue.Queue[object] = queue.Queue(depth)
    stop = threading.Event()

    def put(value: object) -> bool:
        while not stop.is_set():
            try:
                box.put(value, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_END)
        except BaseException as e:  # handed to the consumer, whatever it is
            put(e)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (value := box.get()) is not _END:
            if isinstance(value, BaseException):
                raise value
            yield value  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()


def begun(
    items: Iterable[T],
    work: Callable[[T], R],
    workers: int,
    waiting: int = 0,
    first: Callable[[], None] | None = None,
) -> Iterator[tuple[T, Future[R]]]:
    """Yield each item with its ``work``, which was begun in one of ``workers`` threads.

    The next ``workers`` items are being worked on while one is used, and ``waiting`` more lie ready
    for a worker that is done early; each worker calls ``first`` as it begins. An error of ``items``
    comes out behind what came before it.
    """
    pool = ThreadPoolExecutor(workers, initializer=first)
    given: deque[tuple[T, Future[R]]] = deque()
    error: Exception | None = None
    try:
        try:
            for item in items:
                given.append((item, pool.submit(work, item)))
                if len(given) > workers + waiting:
                    yield given.popleft()
        except Exception as e:
            error = e
        yield from given
        if error is not None:
            raise error
    finally:
        pool.shutdown(cancel_futures=True)


class Consumer(Generic[T]):
    """A context in whose thread ``handle`` is called with each item given to ``put``, in order.

    An error in ``handle`` is raised by the next ``put`` or at the end of the context.
    """

    def __init__(self, handle: Callable[[T], None], depth: int = 4) -> None:
        self._handle = handle
        self._box: queue.Queue[object] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        while (value := self._box.get()) is not _END:
            if self._error is None:
                try:
                    self._handle(value)  # type: ignore[arg-type]
                except BaseException as e:  # raised where the items come from
                    self._error = e

    def put(self, item: T) -> None:
        if self._error is not None:
            raise self._error
        self._box.put(item)

    def __enter__(self) -> Consumer[T]:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._box.put(_END)
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error
