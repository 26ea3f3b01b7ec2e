"""Work that does not fit into memory: refused before it begins, with the estimate."""

from __future__ import annotations

from tests.corpus.table import heading
from tests.corpus.world import World

case = heading("memory")


def free(w: World, size: int) -> None:
    """A machine with so many bytes left."""
    w.patch.setattr("hyperpeft.system.memory.available", lambda: size)


@case("a scene", "a scene of 24 x 24 pixels needs about", "free here", "cut it into parts")
def _(w: World):
    free(w, 1000)
    return w.train()


@case("a scene to train on", "training on scene, of 24 x 24 pixels", "map the whole")
def _(w: World):
    free(w, 2**16)
    return w.train()


@case("a batch", "a batch of 8 windows on", "free here", "smaller --batch-size")
def _(w: World):
    free(w, 2**20)
    return w.train()


@case("all weights of a backbone", "--method full on", "of 66,864 weights", "use an adapter")
def _(w: World):
    free(w, 2**19)
    return w.train(method="full")


@case("a tile of a map", "a tile of 24 x 24 pixels, 20 bands needs about", "smaller --tile")
def _(w: World):
    free(w, 2**17)
    return ["map", w.home / "run", "--out", w / "map.tif"]


@case("a scene of a MATLAB file, which is read whole", "which is read whole", "free here")
def _(w: World):
    from tests.corpus.world import cube
    from tests.helpers.scene_files import mat5

    path = mat5(w / "cube.mat", cube=cube())
    free(w, 2**15)
    return w.train(path)


@case("memory that runs out all the same", "there is not enough memory", "use a smaller")
def _(w: World):
    import numpy as np

    def fit(*_: object, **__: object) -> None:
        np.empty((2**20, 2**20, 2**10))

    w.patch.setattr("hyperpeft.spectral.fit", fit)
    return w.train()
