"""Transforms beside torchvision's, and their randomness beside the law that it should follow."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from shrinkscope.experiments.data import Arrays, Transform, open_images
from shrinkscope.experiments.data.transform import (
    _resized_crop,
    augmented_image,
    drawing,
    normalised,
    plain_image,
)


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(("width", "height"), [(32, 32), (64, 64), (100, 61), (61, 100), (224, 224)])
@pytest.mark.parametrize("size", [32, 224])
def test_evaluated_images_are_torchvisions(width, height, size):
    v2 = pytest.importorskip("torchvision.transforms")
    image = picture(width, height)
    theirs = v2.Compose([v2.Resize(size), v2.CenterCrop(size)])(image)
    np.testing.assert_array_equal(plain_image(image, Transform(size=size)), np.asarray(theirs))


def test_an_image_without_a_size_stays():
    image = picture(9, 7)
    np.testing.assert_array_equal(plain_image(image, Transform()), np.asarray(image))


def test_normalisation_is_torchvisions():
    v2 = pytest.importorskip("torchvision.transforms.v2.functional")
    transform = Transform(mean=(0.4914, 0.4822, 0.4465), deviation=(0.2023, 0.1994, 0.2010))
    pixels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    theirs = v2.normalize(pixels.float() / 255, list(transform.mean), list(transform.deviation))
    torch.testing.assert_close(normalised(pixels, transform), theirs)


def test_crops_follow_the_law_of_area_and_aspect():
    # A large square, so that rounding to pixels is small, and an area of at most a half always fits.
    side, count = 4000, 4000
    boxes = [_resized_crop((side, side), drawing(0, 0, index)) for index in range(count)]
    areas = np.array([(r - x) * (b - y) for x, y, r, b in boxes]) / side**2
    ratios = np.array([math.log((r - x) / (b - y)) for x, y, r, b in boxes])
    assert areas.min() >= 0.079
    assert areas.max() <= 1.0
    assert np.abs(ratios).max() <= math.log(4 / 3) + 1e-3
    small = areas < 0.5
    # Conditioned on an area that fits at any ratio, area and log-ratio are uniform: mean within four standard errors
    # (a false alarm once in 8,000 draws of the seed, which is fixed).
    for values, low, high in ((areas[small], 0.08, 0.5), (ratios[small], math.log(3 / 4), math.log(4 / 3))):
        error = 4 * (high - low) / math.sqrt(12 * len(values))
        assert abs(values.mean() - (low + high) / 2) < error
    lefts = np.array([x / (side - (r - x)) for x, y, r, b in boxes if r - x < side])
    assert abs(lefts.mean() - 0.5) < 4 / math.sqrt(12 * len(lefts))


def test_where_no_crop_fits_the_largest_at_the_centre_is_taken():
    # An image a hundred times as wide as high: even 8 % of its area is too high at any of the aspect ratios.
    assert _resized_crop((1000, 10), drawing(0, 0, 0)) == (493, 0, 506, 10)
    assert _resized_crop((10, 1000), drawing(0, 0, 0)) == (0, 493, 10, 506)


def test_a_resized_crop_is_the_part_scaled_and_flipped_half_of_the_time():
    image, transform, flips = picture(40, 40), Transform(size=16, augmentation="resized_crop"), 0
    for index in range(200):
        draw = drawing(1, 2, index)
        part = np.asarray(image.crop(_resized_crop(image.size, draw)).resize((16, 16), Image.Resampling.BILINEAR))
        found = augmented_image(image, transform, drawing(1, 2, index))
        flipped = np.array_equal(found, part[:, ::-1])
        assert flipped or np.array_equal(found, part)
        flips += flipped
    assert abs(flips - 100) < 4 * math.sqrt(200) / 2  # four standard deviations of a binomial


def test_a_crop_is_a_window_of_the_image_in_a_black_margin():
    image = picture(32, 32)
    wide = np.zeros((40, 40, 3), np.uint8)
    wide[4:36, 4:36] = np.asarray(image)
    windows = {
        wide[top : top + 32, left : left + 32][:, ::step].tobytes()
        for top in range(9)
        for left in range(9)
        for step in (1, -1)
    }
    found = {augmented_image(image, Transform(augmentation="crop"), drawing(0, 0, i)).tobytes() for i in range(300)}
    assert found <= windows
    assert len(found) > 100  # of 162; 300 draws leave 25 of them out on average


def test_a_flip_is_all_that_flip_does():
    image = picture(8, 8)
    found = {augmented_image(image, Transform(augmentation="flip"), drawing(0, 0, i)).tobytes() for i in range(20)}
    assert found == {np.asarray(image).tobytes(), np.asarray(image)[:, ::-1].tobytes()}
    assert augmented_image(image, Transform(), drawing(0, 0, 0)).tobytes() == np.asarray(image).tobytes()


@pytest.fixture
def part(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=pixels, y=np.arange(20))
    settings = Arrays(root=str(tmp_path), train="a.npz", test="a.npz", transform=Transform(augmentation="crop"))
    return open_images(settings).train


def collected(batches) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = zip(*batches, strict=True)
    return torch.cat(inputs), torch.cat(targets)


def test_an_image_is_augmented_alike_in_any_order_batch_and_thread(part):
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    inputs, targets = collected(part.epoch(order, 7, 5, 1))
    assert targets.tolist() == order.tolist()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        straight, _ = collected(part.epoch(torch.arange(20), 3, 5, 1))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(straight[order], inputs)
    assert not torch.equal(collected(part.epoch(order, 7, 5, 2))[0], inputs)
    assert not torch.equal(collected(part.epoch(order, 7, 6, 1))[0], inputs)


def test_iterating_gives_every_image_as_it_is_evaluated(part):
    inputs, targets = collected(part)
    again, _ = collected(part.in_batches(3))
    assert torch.equal(inputs, again)
    assert targets.tolist() == list(range(20))
    assert torch.equal(collected(part.to("cpu"))[0], inputs)


def test_an_epoch_that_is_left_early_stops_decoding(part):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for _ in part.epoch(torch.arange(20), 1, 0, 0):
            break
    finally:
        torch.set_num_threads(before)
