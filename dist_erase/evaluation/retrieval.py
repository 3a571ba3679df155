"""Retrieval in both directions: does an image find its caption, and a caption its image?

The gallery is made of distinct items, as in the usual Flickr30K protocol: each image and each
caption of the held-out set stands in it once, however many pairs it is part of. The right items
of a query are those it is paired with anywhere in the gallery: for an image all its captions, for
a caption all images with an equal one.

Legend of the shape suffixes: q queries of one chunk, n pairs, M distinct items, D dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dist_erase.evaluation.embed import SetEmbeddings
from dist_erase.evaluation.ranking import hit_rate, rivals_ahead, row_chunks

DEPTHS = (1, 5, 10)


def retrieval(queries: SetEmbeddings, gallery: SetEmbeddings) -> dict[str, dict[str, float | None]]:
    """Recall at 1, 5 and 10, image to text and text to image.

    Args:
        queries: one set; every pair is a query in either direction.
        gallery: the whole held-out set, which contains the queries.

    Returns:
        `{"image_to_text" | "text_to_image": {"r1", "r5", "r10"}}`, fractions in 0..1; None for
        a recall at k in a gallery of k items or fewer.
    """
    return {
        "image_to_text": _recalls(
            query_nD=queries.image,
            query_keys_n=queries.image_ids,
            gallery_nD=gallery.text,
            gallery_keys_n=gallery.image_ids,
            items_n=gallery.caption_ids,
        ),
        "text_to_image": _recalls(
            query_nD=queries.text,
            query_keys_n=queries.caption_ids,
            gallery_nD=gallery.image,
            gallery_keys_n=gallery.caption_ids,
            items_n=gallery.image_ids,
        ),
    }


def _recalls(
    *,
    query_nD: Tensor,
    query_keys_n: Tensor,
    gallery_nD: Tensor,
    gallery_keys_n: Tensor,
    items_n: Tensor,
) -> dict[str, float | None]:
    item_of_pair_n, first_M = _distinct(items_n)
    choices_MD = gallery_nD[first_M]
    rivals = []
    for rows in row_chunks(len(query_nD), len(items_n)):
        same_qn = query_keys_n[rows, None] == gallery_keys_n
        query, pair = same_qn.nonzero(as_tuple=True)
        right_qM = torch.zeros(len(same_qn), len(first_M), dtype=torch.bool)
        right_qM[query, item_of_pair_n[pair]] = True
        rivals.append(rivals_ahead(query_nD[rows] @ choices_MD.T, right_qM))
    return {f"r{k}": hit_rate(torch.cat(rivals), k, len(first_M)) for k in DEPTHS}


def _distinct(ids_n: Tensor) -> tuple[Tensor, Tensor]:
    """The item number of each pair [n], and the first pair of each item [M]."""
    values, inverse_n = torch.unique(ids_n, return_inverse=True)
    pairs_n = torch.arange(len(ids_n))
    first_M = torch.full((len(values),), len(ids_n)).scatter_reduce(0, inverse_n, pairs_n, "amin")
    return inverse_n, first_M
