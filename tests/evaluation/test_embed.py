import pytest
import torch
from torch.nn.functional import normalize

from dist_erase.batch import Embeddings, Samples
from dist_erase.errors import UserError
from dist_erase.evaluation.embed import embed_model


class LinearEncoder:
    """A real, tiny two-tower model: a linear map of pixels and a table of tokens."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.pixels = torch.randn(3 * 2 * 2, 5, generator=generator)
        self.table = torch.randn(20, 5, generator=generator)

    def encode(self, images, tokens):
        flat = images.float().flatten(1)
        image = normalize(flat @ self.pixels, dim=-1)
        return Embeddings(image=image, text=self.encode_text(tokens))

    def encode_text(self, tokens):
        return normalize(self.table[tokens].sum(dim=1), dim=-1)


def batch(start, stop):
    n = stop - start
    numbers = torch.arange(start, stop)
    generator = torch.Generator().manual_seed(start)
    return Samples(
        images=torch.randint(0, 256, (n, 3, 2, 2), dtype=torch.uint8, generator=generator),
        tokens=torch.stack([numbers, numbers + 1], dim=1),
        caption_ids=numbers * 10,
        image_ids=numbers * 100,
        labels=numbers % 3,
        positions=numbers,
    )


def test_sets_are_embedded_in_order_with_their_identities():
    encoder = LinearEncoder()
    parts = [batch(0, 4), batch(4, 7)]
    model = embed_model(encoder, {"forget": iter(parts), "retain": [batch(7, 9)]}, None)
    forget = model.sets["forget"]
    assert len(forget) == 7
    assert forget.caption_ids.tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert forget.image_ids.tolist() == [0, 100, 200, 300, 400, 500, 600]
    assert forget.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    alone = encoder.encode(parts[1].images, parts[1].tokens)
    assert torch.equal(forget.image[4:], alone.image)
    assert torch.equal(forget.text[4:], alone.text)
    assert len(model.sets["retain"]) == 2
    assert model.class_text is None


def test_a_class_is_the_normalised_mean_of_its_normalised_templates():
    encoder = LinearEncoder()
    prompts = [torch.tensor([[1, 2], [3, 4], [5, 6]]), torch.tensor([[7, 8]])]
    class_text = embed_model(encoder, {}, prompts).class_text
    for tokens, found in zip(prompts, class_text, strict=True):
        rows = [encoder.table[row].sum(dim=0) for row in tokens]
        mean = sum(row / row.norm() for row in rows) / len(rows)
        assert torch.allclose(found, mean / mean.norm(), atol=1e-6)


def test_an_empty_set_is_refused_by_its_key():
    with pytest.raises(UserError) as error:
        embed_model(LinearEncoder(), {"untouched/flickr": []}, None)
    assert str(error.value).startswith("data.eval.untouched.flickr.shards: the set holds no pairs.")
