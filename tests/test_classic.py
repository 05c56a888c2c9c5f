"""ClassicSet: torchvision's folders in their real formats on the disk, written small; the network is never touched."""

import gzip
import hashlib
import pickle
import struct
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch
import torchvision
from torch.testing import assert_close

from minigen.data import classic
from minigen.data.base import batches
from minigen.data.classic import NUM_VAL, ClassicSet

# Pictures in the files, and of these for validation: the real files hold 50,000 or 60,000 and 10,000, and 5,000
TRAIN, VAL, TEST = 300, 200, 30
MNIST_FILES = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("there is no network in this test")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture(autouse=True)
def small_validation(monkeypatch):
    monkeypatch.setattr(classic, "NUM_VAL", VAL)


def pixels(n, shape, first=0):
    """n pictures of noise whose first two bytes say which they are: number k is k % 256 and k // 256."""
    data = np.random.default_rng(first).integers(0, 256, (n, *shape), np.uint8)
    numbers = np.arange(first, first + n)
    flat = data.reshape(n, -1)
    flat[:, 0], flat[:, 1] = numbers % 256, numbers // 256
    return data


def labels(n, first=0):
    return (np.arange(first, first + n) * 7 % 10).astype(np.uint8)


def idx(array):
    """MNIST's file format: two zeros, the code of bytes, the number of dimensions, the dimensions, the bytes."""
    return struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(root, name="MNIST", zipped=False):
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    content = [pixels(TRAIN, (28, 28)), labels(TRAIN), pixels(TEST, (28, 28), TRAIN), labels(TEST, TRAIN)]
    for file, array in zip(MNIST_FILES, content, strict=True):
        if zipped:
            (folder / f"{file}.gz").write_bytes(gzip.compress(idx(array), 1))
        else:
            (folder / file).write_bytes(idx(array))
    return folder


def write_cifar10(root):
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    share = TRAIN // 5
    for k in range(6):
        name, n = (f"data_batch_{k + 1}", share) if k < 5 else ("test_batch", TEST)
        content = {
            "data": pixels(n, (3072,), k * share),
            "labels": labels(n, k * share).tolist(),
            "batch_label": "",
            "filenames": [""] * n,
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names, "num_vis": 3072}, protocol=2))
    return folder


def trust(folder, monkeypatch):
    """Let torchvision take these files for the originals: its check stays in force, with their sums in its list."""

    def sums(files):
        return [[name, hashlib.md5((folder / name).read_bytes()).hexdigest()] for name, _ in files]

    cifar10 = torchvision.datasets.CIFAR10
    train, test = sums(cifar10.train_list), sums(cifar10.test_list)
    meta = cifar10.meta | {"md5": sums([("batches.meta", "")])[0][1]}
    monkeypatch.setattr(cifar10, "train_list", train)
    monkeypatch.setattr(cifar10, "test_list", test)
    monkeypatch.setattr(cifar10, "meta", meta)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with all three sets; tests that change files write their own."""
    root = tmp_path_factory.mktemp("data")
    write_mnist(root)
    write_mnist(root, "FashionMNIST", zipped=True)
    write_cifar10(root)
    return root


@pytest.fixture
def root(files, monkeypatch):
    trust(files / "cifar-10-batches-py", monkeypatch)
    return files


ALL = ["MNIST", "FashionMNIST", "CIFAR10"]


def numbers(dataset, indices):
    """Which pictures of the files these are, read from their first two bytes."""
    images = (dataset.take(indices).images * 255).round().long()
    inset = 0 if dataset.name == "CIFAR10" else 2  # within MNIST's padding
    return (images[:, 0, inset, inset] + 256 * images[:, 0, inset, inset + 1]).tolist()


# --- what it gives ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_the_splits_are_the_files_in_order_and_share_nothing(root, name):
    train, val, test = (ClassicSet(name, root, split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (TRAIN - VAL, VAL, TEST)
    assert numbers(train, range(len(train))) == list(range(TRAIN - VAL))
    assert numbers(val, range(len(val))) == list(range(TRAIN - VAL, TRAIN))
    assert numbers(test, range(len(test))) == list(range(TRAIN, TRAIN + TEST))


def test_the_last_5000_training_pictures_validate(tmp_path, monkeypatch):
    monkeypatch.setattr(classic, "NUM_VAL", NUM_VAL)
    folder = write_mnist(tmp_path)
    (folder / MNIST_FILES[0]).write_bytes(idx(pixels(5003, (28, 28))))
    (folder / MNIST_FILES[1]).write_bytes(idx(labels(5003)))
    train, val = ClassicSet("MNIST", tmp_path), ClassicSet("MNIST", tmp_path, "val")
    assert numbers(train, range(3)) == [0, 1, 2] and len(train) == 3
    assert numbers(val, [0, 4999]) == [3, 5002] and len(val) == 5000


@pytest.mark.parametrize("name", ALL)
def test_every_picture_keeps_its_label_and_caption(root, name):
    for split in ("train", "val", "test"):
        dataset = ClassicSet(name, root, split)
        chosen = [len(dataset) - 1, 0, 7, 7]
        batch = dataset.take(chosen)
        expected = [k * 7 % 10 for k in numbers(dataset, chosen)]
        assert batch.labels["object"].tolist() == expected and batch.labels["object"].dtype == torch.int64
        for caption, answer in zip(batch.captions, expected, strict=True):
            assert caption.lower().endswith(dataset.questions["object"][answer])


@pytest.mark.parametrize("name", ALL)
def test_pictures_are_float_in_three_channels_of_32(root, name):
    dataset = ClassicSet(name, root)
    images = dataset.take(torch.arange(20)).images
    assert images.shape == (20, 3, 32, 32) and images.dtype == torch.float32 and images.is_contiguous()
    assert images.min() == 0 and images.max() == 1
    images[0, 0].zero_()  # the channels do not share memory, or this would change the others
    assert images[0, 1].max() > 0
    example = dataset[3]
    assert example.image.shape == (3, 32, 32) and type(example.labels["object"]) is int


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10"])  # torchvision does not read zipped files, as the third's are
def test_pictures_are_the_ones_torchvision_gives(root, name):
    theirs = getattr(torchvision.datasets, name)(root, train=False)
    ours = ClassicSet(name, root, "test")
    for k in range(TEST):
        picture, answer = theirs[k]
        expected = torchvision.transforms.functional.pil_to_tensor(picture).float() / 255
        mine = ours[k].image
        assert ours[k].labels["object"] == answer
        assert_close(mine if name == "CIFAR10" else mine[:, 2:30, 2:30], expected.expand(3, -1, -1))


def test_grey_pictures_have_equal_channels_and_black_around_them(root):
    images = ClassicSet("MNIST", root).take(range(10)).images
    assert torch.equal(images[:, 0], images[:, 1]) and torch.equal(images[:, 0], images[:, 2])
    frame = images.clone()
    frame[:, :, 2:30, 2:30] = 0
    assert frame.sum() == 0 and images[:, :, 2:30, 2:30].mean() > 0.4


def test_size_28_gives_mnists_own_pixels(root):
    small, padded = ClassicSet("MNIST", root, size=28), ClassicSet("MNIST", root)
    assert torch.equal(small[5].image, padded[5].image[:, 2:30, 2:30])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [8, 16, 64])
def test_another_size_is_resized_within_the_range(root, name, size):
    images = ClassicSet(name, root, size=size).take(range(8)).images
    assert images.shape == (8, 3, size, size) and images.min() >= 0 and images.max() <= 1
    whole = ClassicSet(name, root).take(range(8)).images
    assert_close(images.mean((2, 3)), whole.mean((2, 3)), rtol=0, atol=0.03)  # as bright as before


@pytest.mark.parametrize("size", [None, 48])
@pytest.mark.parametrize("name", ALL)
def test_a_picture_is_the_same_alone_and_in_a_batch(root, name, size):
    dataset = ClassicSet(name, root, size=size)
    together = dataset.take(list(range(20)))
    for k in (0, 11, 19):
        alone = dataset[k]
        assert torch.equal(alone.image, together.images[k])
        assert alone.caption == together.captions[k] and alone.labels["object"] == together.labels["object"][k]


def test_a_split_keeps_no_picture_of_another_in_memory(root):
    sizes = [len(pickle.dumps(ClassicSet("CIFAR10", root, split))) for split in ("train", "val")]
    for size, n in zip(sizes, (TRAIN - VAL, VAL), strict=True):
        assert n * 3 * 32 * 32 <= size < n * 3 * 32 * 32 * 1.1


def test_changing_a_batch_does_not_change_the_data_set(root):
    dataset = ClassicSet("CIFAR10", root)
    before = dataset.take([1, 2])
    batch = dataset.take([1, 2])
    batch.images.zero_(), batch.labels["object"].fill_(0), batch.captions.clear()
    assert torch.equal(dataset.take([1, 2]).images, before.images)
    assert dataset.take([1, 2]).labels["object"].tolist() == before.labels["object"].tolist()


def test_captions_are_phrases_in_english(root):
    assert ClassicSet("MNIST", root)[1].caption == "the digit 7"
    fashion, cifar = ClassicSet("FashionMNIST", root).take(range(10)), ClassicSet("CIFAR10", root).take(range(10))
    said = dict(zip(fashion.labels["object"].tolist(), fashion.captions, strict=True))
    assert said[9] == "a photo of an ankle boot" and said[1] == "a photo of trousers"
    said = dict(zip(cifar.labels["object"].tolist(), cifar.captions, strict=True))
    assert said[3] == "a photo of a cat" and said[0] == "a photo of an airplane"


@pytest.mark.parametrize(
    ("name", "ours"),
    [("MNIST", [str(k) for k in range(10)]), ("FashionMNIST", None), ("CIFAR10", None)],
)
def test_classes_are_in_torchvisions_order(root, name, ours):
    names = ClassicSet(name, root).questions["object"]
    assert len(set(names)) == 10
    if ours:
        assert names == ours
    elif name == "CIFAR10":
        assert names == torchvision.datasets.CIFAR10(root).classes
    else:  # torchvision writes "T-shirt/top" and "Trouser"
        theirs = [label.lower().split("/")[0] for label in torchvision.datasets.FashionMNIST.classes]
        assert [a.startswith(b) for a, b in zip(names, theirs, strict=True)] == [True] * 10


@pytest.mark.parametrize("name", ["mnist", "MNIST", "fashion-mnist", "Fashion_MNIST", "cifar10", "CIFAR-10"])
def test_a_name_may_be_spelled_as_people_do(root, name):
    assert ClassicSet(name, str(root), "test").name in ALL


def test_every_set_names_its_makers(root):
    assert "LeCun" in ClassicSet("MNIST", root).credit
    assert "Zalando" in ClassicSet("FashionMNIST", root).credit
    assert "Krizhevsky" in ClassicSet("CIFAR10", root).credit


def test_an_index_beyond_the_end_is_an_index_error(root):
    dataset = ClassicSet("MNIST", root, "test")
    assert dataset[-1].caption == dataset[TEST - 1].caption
    for index in (TEST, -TEST - 1):
        with pytest.raises(IndexError):
            dataset.take([0, index])
        with pytest.raises(IndexError, match=f"no example {index}"):
            dataset[index]
    with pytest.raises(TypeError):
        dataset.take([0.5])


def test_taking_nothing_gives_an_empty_batch(root):
    batch = ClassicSet("MNIST", root).take([])
    assert batch.images.shape == (0, 3, 32, 32) and batch.captions == []


def test_batches_of_a_classic_set_resume(root):
    dataset = ClassicSet("CIFAR10", root)
    stream = batches(dataset, 4)
    next(stream)
    assert torch.equal(next(stream).images, next(batches(dataset, 4, start=1)).images)


@pytest.mark.gpu
def test_a_batch_arrives_on_the_gpu(root):
    there = ClassicSet("MNIST", root).batch(8, torch.Generator().manual_seed(0), device="cuda")
    here = ClassicSet("MNIST", root).batch(8, torch.Generator().manual_seed(0))
    assert there.images.device.type == "cuda" and torch.equal(there.images.cpu(), here.images)
    assert torch.equal(there.labels["object"].cpu(), here.labels["object"])


# --- what it refuses --------------------------------------------------------------------------------------------


def refusal(kind, *mentioned, **arguments):
    with pytest.raises(kind) as caught:
        ClassicSet(**arguments)
    message = str(caught.value)
    assert "\n" not in message
    for word in mentioned:
        assert str(word) in message, message
    return message


def test_an_unknown_name_split_or_size_is_refused(root):
    refusal(ValueError, "'imagenet'", "MNIST, FashionMNIST, CIFAR10", name="imagenet", root=root)
    refusal(ValueError, "'valid'", "train, val, test", name="MNIST", root=root, split="valid")
    refusal(ValueError, "size is 0", name="MNIST", root=root, size=0)


def test_a_missing_set_is_told_of_with_its_folder_and_files(tmp_path):
    refusal(
        FileNotFoundError, tmp_path / "MNIST" / "raw", *MNIST_FILES[:2], "download=True", name="MNIST", root=tmp_path
    )
    refusal(FileNotFoundError, *MNIST_FILES[2:], name="MNIST", root=tmp_path, split="test")
    refusal(
        FileNotFoundError,
        *(tmp_path / "cifar-10-batches-py", "data_batch_1", "data_batch_5", "test_batch", "batches.meta"),
        name="CIFAR10",
        root=tmp_path,
    )
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_missing_is_named(tmp_path):
    folder = write_mnist(tmp_path)
    (folder / MNIST_FILES[1]).unlink()
    message = refusal(FileNotFoundError, f"lacks {MNIST_FILES[1]}:", name="MNIST", root=tmp_path)
    assert MNIST_FILES[0] not in message
    assert len(ClassicSet("MNIST", tmp_path, "test")) == TEST  # which is all there


def test_nothing_is_downloaded_unasked(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a download was begun")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", refuse)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", refuse)
    for name in ALL:
        refusal(FileNotFoundError, name, name=name, root=tmp_path)


@pytest.mark.parametrize("name", ALL)
def test_a_download_without_a_network_says_where_to_put_the_files(tmp_path, name):
    file = "data_batch_1" if name == "CIFAR10" else MNIST_FILES[0]
    folder = tmp_path / ("cifar-10-batches-py" if name == "CIFAR10" else f"{name}/raw")
    refusal(FileNotFoundError, name, "could not be downloaded", folder, file, name=name, root=tmp_path, download=True)


def test_a_download_that_is_asked_for_is_read(tmp_path, monkeypatch):
    asked = []

    def download(url, download_root, filename, md5):
        asked.append(url)
        if not (tmp_path / "MNIST" / "raw" / MNIST_FILES[-1]).exists():
            (tmp_path / "MNIST" / "raw").rmdir()
            write_mnist(tmp_path)

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", download)
    assert len(ClassicSet("MNIST", tmp_path, download=True)) == TRAIN - VAL
    assert len(asked) == 4


@pytest.mark.parametrize("name", ALL)
def test_a_download_is_not_begun_where_everything_is_there(root, name, monkeypatch):
    monkeypatch.setattr(
        getattr(torchvision.datasets, name), "download", lambda self: pytest.fail("a download was begun")
    )
    assert len(ClassicSet(name, root, "test", download=True)) == TEST


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[:3], id="cut in its head"),
        pytest.param(lambda data: data[:-1000], id="cut"),
        pytest.param(lambda data: b"<html>not found</html>" * 20, id="web page"),
        pytest.param(lambda data: b"\xff" * 16 + data[16:], id="another head"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, change, zipped):
    folder = write_mnist(tmp_path, zipped=zipped)
    path = folder / (MNIST_FILES[2] + (".gz" if zipped else ""))
    path.write_bytes(change(path.read_bytes()))
    refusal(ValueError, path, "is damaged", "delete it", name="MNIST", root=tmp_path, split="test")


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    folder = write_mnist(tmp_path)
    (folder / MNIST_FILES[3]).write_bytes(idx(labels(TEST - 1)))
    refusal(ValueError, folder / MNIST_FILES[2], "29 labels", name="MNIST", root=tmp_path, split="test")
    (folder / MNIST_FILES[2]).write_bytes(idx(pixels(TEST - 1, (14, 14))))
    refusal(ValueError, "(29, 14, 14)", "28 x 28", name="MNIST", root=tmp_path, split="test")
    (folder / MNIST_FILES[2]).write_bytes(idx(pixels(5, (28, 28))))
    (folder / MNIST_FILES[3]).write_bytes(idx(np.array([1, 2, 3, 4, 10], np.uint8)))
    refusal(ValueError, folder, "label 10", name="MNIST", root=tmp_path, split="test")


def test_too_few_pictures_to_validate_on_are_refused(tmp_path):
    folder = write_mnist(tmp_path)
    (folder / MNIST_FILES[0]).write_bytes(idx(pixels(VAL, (28, 28))))
    (folder / MNIST_FILES[1]).write_bytes(idx(labels(VAL)))
    refusal(ValueError, "200 pictures", "201", name="MNIST", root=tmp_path)


class Evil:
    """What a pickle can do: run code of its maker's choosing when it is read."""

    def __reduce__(self):
        return pytest.fail, ("a file was unpickled that is not the original",)


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_changed_pickle_is_refused_unopened(tmp_path, monkeypatch, file):
    folder = write_cifar10(tmp_path)
    trust(folder, monkeypatch)
    (folder / file).write_bytes(pickle.dumps(Evil()))
    refusal(ValueError, folder, f"{file} in {folder}", "MD5", "delete it", name="CIFAR10", root=tmp_path)


def test_files_that_are_not_the_originals_are_refused(tmp_path):
    folder = write_cifar10(tmp_path)  # whole, but nobody vouches for them
    refusal(ValueError, folder, "data_batch_1", "MD5", name="CIFAR10", root=tmp_path)


def test_an_old_pickled_copy_of_mnist_is_not_read(tmp_path):
    write_mnist(tmp_path)
    old = tmp_path / "MNIST" / "processed"
    old.mkdir()
    for name in ("training.pt", "test.pt"):
        (old / name).write_bytes(pickle.dumps(Evil()))
    assert len(ClassicSet("MNIST", tmp_path, "test")) == TEST


def test_zipped_files_are_read_without_writing_beside_them(tmp_path):
    folder = write_mnist(tmp_path, zipped=True)
    before = sorted(folder.iterdir())
    plain = tmp_path / "plain"
    write_mnist(plain)
    zipped, unzipped = ClassicSet("MNIST", tmp_path, "test"), ClassicSet("MNIST", plain, "test")
    assert torch.equal(zipped.take(range(TEST)).images, unzipped.take(range(TEST)).images)
    assert sorted(folder.iterdir()) == before
