"""The denoiser: what it may look at and what it may not, its attention against torch's own, its classes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from minigen.denoiser import ClassEncoder, Denoiser, grid_of_sinusoids
from minigen.diffusion import RectifiedFlow, diffusion_loss
from minigen.layers import Condition, attend, sinusoids

SHAPES = {"latents": {"channels": 4, "size": 8}, "pixels": {"channels": 3, "size": 16, "ends": (8, 16)}}
each_shape = pytest.mark.parametrize("kind", SHAPES)


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def a_denoiser(kind="latents", *, trained=True, **options):
    torch.manual_seed(0)
    small = {"width": 24, "depth": 2, "num_heads": 2, "cond_width": 12}
    model = Denoiser(**small | SHAPES[kind] | options).eval()
    if trained:  # as it begins it says nothing: what is zero then is random here
        for parameter in model.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.3, generator=gen(1))
    return model


def some_input(kind="latents", count=3, length=5):
    shape = SHAPES[kind]
    x_t = torch.randn(count, shape["channels"], shape["size"], shape["size"], generator=gen(2))
    tokens = torch.randn(count, length, 12, generator=gen(3))
    mask = torch.arange(length) < torch.tensor([length, 2, 1])[:count, None]
    return x_t, torch.tensor([0.1, 0.5, 1.0])[:count], Condition(tokens * mask[:, :, None], mask)


def close(a, b):
    assert_close(a, b, rtol=1e-4, atol=1e-5)


# --- attention --------------------------------------------------------------------------------------------------


def some_queries():
    q = torch.randn(2, 3, 4, 8, generator=gen(0))
    k, v = (torch.randn(2, 3, 6, 8, generator=gen(seed)) for seed in (1, 2))
    return q, k, v, torch.tensor([[True] * 6, [True, True, False, False, True, False]])


def test_attention_is_torchs_own():
    q, k, v, mask = some_queries()
    close(attend(q, k, v)[0], F.scaled_dot_product_attention(q, k, v))
    close(attend(q, k, v, mask)[0], F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None]))


def test_each_querys_weights_sum_to_1_and_none_goes_where_the_mask_is_false():
    q, k, v, mask = some_queries()
    _, weights = attend(q, k, v, mask)
    assert weights.shape == (2, 3, 4, 6)
    close(weights.sum(dim=3), torch.ones(2, 3, 4))
    assert (weights[1, :, :, ~mask[1]] == 0).all() and (weights[mask[:, None, None].expand_as(weights)] > 0).all()


def test_the_order_of_the_keys_changes_nothing():
    q, k, v, mask = some_queries()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    close(attend(q, k[:, :, order], v[:, :, order], mask[:, order])[0], attend(q, k, v, mask)[0])


# --- the denoiser -----------------------------------------------------------------------------------------------


@each_shape
def test_it_answers_in_the_shape_of_its_input_and_begins_by_saying_nothing(kind):
    x_t, t, cond = some_input(kind)
    assert a_denoiser(kind)(x_t, t, cond).shape == x_t.shape
    assert not a_denoiser(kind, trained=False)(x_t, t, cond).any()


@each_shape
def test_a_picture_does_not_depend_on_its_neighbours_in_the_batch(kind):
    model, (x_t, t, cond) = a_denoiser(kind), some_input(kind)
    together = model(x_t, t, cond)
    for k in range(3):
        row = slice(k, k + 1)
        close(model(x_t[row], t[row], Condition(cond.tokens[row], cond.mask[row])), together[row])


@each_shape
def test_two_passes_in_eval_mode_are_equal(kind):
    model, given = a_denoiser(kind), some_input(kind)
    assert torch.equal(model(*given), model(*given))


@each_shape
def test_time_condition_and_every_place_matter(kind):
    model, (x_t, t, cond) = a_denoiser(kind), some_input(kind)
    before = model(x_t, t, cond)
    assert not torch.allclose(model(x_t, t + 0.2, cond), before, atol=1e-3)
    other = Condition(cond.tokens.flip(0), cond.mask.flip(0))
    assert not torch.allclose(model(x_t, t, other), before, atol=1e-3)
    nudged = x_t.clone()
    nudged[:, :, 0, 0] += 3  # the first place reaches the last: every place looks at every other
    assert ((model(nudged, t, cond) - before)[:, :, -1, -1].abs() > 1e-6).any()


def test_tokens_that_are_filling_change_nothing():
    model, (x_t, t, cond) = a_denoiser(), some_input()
    before = model(x_t, t, cond)
    filled = torch.where(cond.mask[:, :, None], cond.tokens, 100.0)
    # In the mean of the condition filling must count as nothing as well
    close(model(x_t, t, Condition(filled, cond.mask)), before)
    longer = Condition(F.pad(cond.tokens, (0, 0, 0, 4)), F.pad(cond.mask, (0, 4)))
    close(model(x_t, t, longer), before)


def test_the_way_out_sees_what_was_seen_on_the_way_in():
    model, (x_t, t, cond) = a_denoiser("pixels"), some_input("pixels")
    for double in model.doubles:  # nothing comes up from the transformer
        torch.nn.init.zeros_(double[0].weight)
    before = model(x_t, t, cond)
    x_t[:, :, 7, 3] += 3
    assert ((model(x_t, t, cond) - before)[:, :, 7, 3].abs() > 1e-3).any()


def test_places_are_told_apart():
    model, (x_t, t, cond) = a_denoiser(), some_input()
    assert not torch.allclose(model(x_t.flip(3), t, cond).flip(3), model(x_t, t, cond), atol=1e-3)


def test_a_denoiser_begins_knowing_its_rows_and_columns():
    """Rows differ from columns, every place from every other, and neighbours are more alike than strangers."""
    places = grid_of_sinusoids(8, 24)
    assert torch.equal(a_denoiser().places[0], grid_of_sinusoids(8, a_denoiser().config["width"]))
    rows, columns = places.view(8, 8, 24).split(12, dim=2)
    assert torch.equal(rows, rows[:, :1].expand_as(rows)) and torch.equal(columns, columns[:1].expand_as(columns))
    assert torch.equal(rows[:, 0], columns[0])
    apart = torch.cdist(places, places)
    assert apart[~torch.eye(64, dtype=torch.bool)].min() > 0.5
    assert apart[0, 1] < apart[0, 2] < apart[0, 4] and apart[0, 8] < apart[0, 16] < apart[0, 32]


def test_every_parameter_learns():
    model, (x_t, _, cond) = a_denoiser("pixels"), some_input("pixels")
    diffusion_loss(model, RectifiedFlow(), x_t, cond, prediction_type="v", generator=gen(4)).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_what_it_was_given_stays_as_it_was():
    model, (x_t, t, cond) = a_denoiser("pixels"), some_input("pixels")
    before = copy.deepcopy((x_t, t, cond))
    model(x_t, t, cond)
    for now, then in zip((x_t, t, *cond), (*before[:2], *before[2]), strict=True):
        assert torch.equal(now, then)


def test_a_copy_does_not_move_with_the_original_and_the_state_loads_back():
    model, given = a_denoiser("pixels"), some_input("pixels")
    twin, rebuilt = copy.deepcopy(model), Denoiser(**model.config)
    rebuilt.load_state_dict(model.state_dict())
    before = model(*given)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    assert torch.equal(twin(*given), before) and torch.equal(rebuilt.eval()(*given), before)


def test_it_looks_at_each_token_by_a_share():
    model, (x_t, t, cond) = a_denoiser("pixels"), some_input("pixels")
    output, looks = model.look(x_t, t, cond)
    assert torch.equal(output, model(x_t, t, cond))
    assert looks.shape == (3, 2, 5, 4, 4)  # [N,depth,tokens,h,w]
    close(looks.sum(dim=2), torch.ones(3, 2, 4, 4))
    assert (looks[1, :, 2:] == 0).all()  # where there is filling


@pytest.mark.parametrize(
    "wrong", [{"x": (3, 4, 8, 7)}, {"x": (3, 5, 8, 8)}, {"x": (2, 4, 8, 8)}, {"t": (3, 1)}, {"t": (1,)}]
)
def test_it_refuses_other_shapes_and_names_them(wrong):
    x_t, t, cond = some_input()
    x_t, t = torch.zeros(wrong.get("x", x_t.shape)), torch.zeros(wrong.get("t", t.shape))
    with pytest.raises(ValueError, match=r"expected x_t \(N, 4, 8, 8\), t \(N,\) and N conditions, got"):
        a_denoiser()(x_t, t, cond)


# --- time -------------------------------------------------------------------------------------------------------


def test_times_are_told_in_thousandths_or_in_steps():
    close(sinusoids(torch.tensor([0.0, 0.25, 1.0]), 16), sinusoids(torch.tensor([0, 250, 1000]), 16))
    assert sinusoids(torch.arange(3), 16).shape == (3, 16)
    close(sinusoids(torch.tensor([0]), 6), torch.tensor([[1.0, 1, 1, 0, 0, 0]]))


def test_waves_slow_down_towards_their_span():
    angles = torch.tensor([7.0, 0.7])
    close(sinusoids(torch.tensor([7]), 4, span=100), torch.cat([angles.cos(), angles.sin()])[None])


def test_all_times_differ():
    steps = sinusoids(torch.arange(1000), 256)
    assert torch.pdist(steps).min() > 0.1


# --- classes ----------------------------------------------------------------------------------------------------


def test_a_class_is_one_token():
    encoder = ClassEncoder(num_classes=5, width=12)
    cond = encoder.read(torch.tensor([3, 0]))
    assert cond.tokens.shape == (2, 1, 12) and cond.mask.all() and cond.mask.shape == (2, 1)
    assert torch.equal(cond.tokens[0, 0], encoder.embed.weight[3])


@pytest.mark.parametrize("labels", [torch.tensor([5]), torch.tensor([-1]), torch.tensor([0.5]), torch.tensor([[1]])])
def test_a_class_that_there_is_not_is_refused(labels):
    with pytest.raises(ValueError, match=r"expected (classes 0 to 4|labels of shape)"):
        ClassEncoder(num_classes=5).read(labels)


def test_the_class_left_out_is_learnt_and_exists_without_dropping():
    encoder = ClassEncoder(num_classes=5, width=12)
    cond = encoder.read(torch.arange(5))
    assert torch.equal(encoder.drop(cond, 0.0).tokens, cond.tokens)
    dropped = encoder.drop(cond, 1.0)
    assert torch.equal(dropped.tokens, encoder.empty(5).tokens) and torch.equal(dropped.mask, encoder.empty(5).mask)
    dropped.tokens.sum().backward()
    assert encoder.empty_token.grad.any() and (encoder.embed.weight.grad is None or not encoder.embed.weight.grad.any())


def test_a_share_of_the_classes_is_dropped():
    encoder = ClassEncoder(num_classes=5, width=12)
    cond = encoder.read(torch.zeros(2000, dtype=torch.long))
    dropped = (encoder.drop(cond, 0.1, generator=gen()).tokens == encoder.empty_token).all(dim=2).float().mean()
    assert 0.08 < dropped < 0.12
