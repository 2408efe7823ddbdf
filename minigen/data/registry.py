"""Which image data sets there are: their files, where to fetch them and how to tell that they are whole.

Mirrors pack the same numbers with different gzip settings, so a digest of the unpacked bytes is the one
that holds everywhere. We state it where we could compute it from the files ourselves (MNIST and its
selection). For the others we repeat what their authors publish, the MD5 of the packed file, and cite it;
an unpacked copy of those cannot be checked.

Sources
    MNIST           LeCun, Cortes and Burges, The MNIST database of handwritten digits; CC BY-SA 3.0
    Fashion-MNIST   Xiao, Rasul and Vollgraf, arXiv:1708.07747; MIT. MD5s: README of zalandoresearch/fashion-mnist
    CIFAR-10        Krizhevsky, Learning multiple layers of features from tiny images, 2009.
                    MD5 and binary format: https://www.cs.toronto.edu/~kriz/cifar.html
"""

import difflib
from dataclasses import dataclass, replace
from pathlib import Path

SHA256_UNPACKED = "sha256 of the unpacked bytes"
MD5_PACKED = "md5 of the packed file"


@dataclass(frozen=True)
class DataFile:
    """One file as it is served, and the digest (of which `kind`) that proves it whole."""

    name: str
    kind: str
    digest: str


@dataclass(frozen=True)
class DataSet:
    """A data set by name. `embedded` is the folder inside the package, None where it must be downloaded.

    tinted   its files hold grey pictures; each gets a colour of its own when it is loaded (sets.py::tint)
    """

    name: str
    about: str
    licence: str
    classes: tuple[str, ...]
    files: tuple[DataFile, ...]
    mirrors: tuple[str, ...] = ()
    embedded: Path | None = None
    tinted: bool = False


DIGITS = tuple("0123456789")
IDX_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _four_files(kind, *digests):
    return tuple(DataFile(name, kind, digest) for name, digest in zip(IDX_NAMES, digests, strict=True))


MNIST_MINI = DataSet(
    name="mnist-mini",
    about="10,000 training and 2,000 test digits of MNIST, 28x28 grey, shipped with the package",
    licence="CC BY-SA 3.0",
    classes=DIGITS,
    files=_four_files(  # computed from the shipped files, which examples/data/make_mnist_mini.py wrote
        SHA256_UNPACKED,
        "66e5bf9dcc9281e1bfb7b95eb90b62b26924e7fb96bacc60483e5a6fa2344c01",
        "787c95dcfd0315c71b269fe98e262acd8d9d0c138b96e482028de75426f3db6d",
        "96036ec2a6e449c203a71d0486eced3579e1e4147bc36f114b18a494d760fc53",
        "5f0fc401342c0584bdd499f1c330a9d81ce384839843edbf5a54301b5a4d4529",
    ),
    embedded=Path(__file__).parent / "mnist_mini",
)

MNIST_MINI_COLOR = replace(
    MNIST_MINI, name="mnist-mini-color", about="the digits of mnist-mini, each in a random colour", tinted=True
)

MNIST = DataSet(
    name="mnist",
    about="60,000 training and 10,000 test handwritten digits, 28x28 grey",
    licence="CC BY-SA 3.0",
    classes=DIGITS,
    files=_four_files(  # computed from the original files
        SHA256_UNPACKED,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",  # torchvision's mirror (torchvision/datasets/mnist.py)
        "https://storage.googleapis.com/cvdf-datasets/mnist/",  # the Common Visual Data Foundation's
    ),
)

FASHION_MNIST = DataSet(
    name="fashion-mnist",
    about="60,000 training and 10,000 test pictures of clothing, 28x28 grey",
    licence="MIT",
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    files=_four_files(  # README of zalandoresearch/fashion-mnist, "Get the Data"
        MD5_PACKED,
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    mirrors=(  # both named in the same README
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
)

CIFAR10 = DataSet(
    name="cifar10",
    about="50,000 training and 10,000 test photographs, 32x32 colour",
    licence="none stated by the authors",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    files=(DataFile("cifar-10-binary.tar.gz", MD5_PACKED, "c32a1d4ab5d03f1284b67883e8d87530"),),  # the authors' page
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
)

DATA_SETS = {entry.name: entry for entry in (MNIST_MINI, MNIST_MINI_COLOR, MNIST, FASHION_MNIST, CIFAR10)}


def find_data_set(name):
    """The registry's entry for a name. Raises ValueError, which suggests the nearest, for an unknown one."""
    if name in DATA_SETS:
        return DATA_SETS[name]
    near = difflib.get_close_matches(name.lower(), DATA_SETS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"no data set is called {name!r}: there are {', '.join(DATA_SETS)}{hint}")
