"""Records golden/losses.json: values and gradients of the losses of sentence-transformers, for the tests of crates/train.

Each loss is the class of sentence-transformers, called with a model that hands out given vectors, in float64 from inputs that
float32 holds exactly. A case has the name and the parameters as `losses::from_name` takes them, columns, labels and guide
vectors, and what came out: the loss, its gradient by each column, and the configuration.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import util
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.losses.contrastive import SiameseDistanceMetric
from sentence_transformers.sentence_transformer.losses.triplet import TripletDistanceMetric

warnings.filterwarnings("ignore")
random = np.random.default_rng(5)
BATCH, WIDTH = 6, 8


class Given(torch.nn.Module):
    """A model whose texts are vectors already."""

    def forward(self, features):
        return {"sentence_embedding": features["x"].clone()}

    def get_embedding_dimension(self):
        return WIDTH

    def __getitem__(self, index):
        return self


def vectors(columns, rows=BATCH, width=WIDTH, alike=0.7):
    """Columns whose rows resemble those of the first, as they do in training."""
    first = random.standard_normal((rows, width))
    others = [alike * first + random.standard_normal((rows, width)) for _ in range(columns - 1)]
    return [np.round(x * 256) / 256 for x in [first, *others]]


def listed(array):
    if isinstance(array, dict):
        return {key: listed(value) for key, value in array.items()}
    if isinstance(array, (list, tuple)):
        return [listed(value) for value in array]
    if isinstance(array, np.ndarray):
        return listed(array.tolist())
    return float(f"{array:.12g}") if isinstance(array, float) else array


def python(cls, key, value):
    """The argument of the class for a parameter."""
    if key in ("similarity_fct",):
        return getattr(util, value)
    if key == "distance_metric":
        kind = TripletDistanceMetric if cls == "TripletLoss" else SiameseDistanceMetric
        return getattr(kind, value.split(".")[-1])
    return tuple(value) if isinstance(value, list) else value


def make(name, parameters, guide):
    cls = getattr(losses, name)
    model = Given()
    if name == "MatryoshkaLoss":
        inner = parameters["loss"]
        inner = {"name": inner} if isinstance(inner, str) else dict(inner)
        loss = make(inner.pop("name"), inner, guide)
        model = loss.model
        return cls(model, loss, **{key: value for key, value in parameters.items() if key != "loss"})
    arguments = {key: python(name, key, value) for key, value in parameters.items() if key != "guide"}
    if "GIST" not in name:
        return cls(model, **arguments)
    # The constructor asks for tokenizers; vectors have none.
    loss = cls.__new__(cls)
    torch.nn.Module.__init__(loss)
    defaults = {"temperature": 0.01, "margin_strategy": "absolute", "margin": 0.0, "contrast_anchors": True,
                "contrast_positives": True, "gather_across_devices": False}
    loss.model, loss.guide = model, Guide(guide)
    loss.similarity_fct = torch.nn.CosineSimilarity(dim=-1)
    loss.cross_entropy_loss = torch.nn.CrossEntropyLoss()
    loss.must_retokenize = False
    loss.mini_batch_size, loss.mini_batch_num_tokens, loss.show_progress_bar = 32, None, False
    for key, value in {**defaults, **arguments}.items():
        setattr(loss, key, value)
    return loss


class Guide(torch.nn.Module):
    """A guide model that hands out its vectors, column by column."""

    def __init__(self, columns):
        super().__init__()
        self.columns = columns

    def forward(self, features):
        return {"sentence_embedding": torch.tensor(self.columns[features["column"]])}


def run(loss, name, columns, labels, guide):
    x = [torch.tensor(column, requires_grad=True) for column in columns]
    target = None if labels is None else torch.tensor(np.asarray(labels), dtype=torch.float64)
    if name.startswith("Cached"):
        rep = [[column] for column in x]
        arguments = ([[torch.tensor(column)] for column in guide],) if "GIST" in name else ()
        value = loss.calculate_loss(rep, *arguments)
    else:
        value = loss([{"x": column, "column": index} for index, column in enumerate(x)], target)
    if value.requires_grad:
        value.backward()
    return value.item(), [np.zeros_like(c) if column.grad is None else column.grad.numpy() for c, column in zip(columns, x)]


cases = []


def case(name, parameters, columns, labels=None, guide=None):
    config = None
    with torch.enable_grad():
        loss = make(name, parameters, guide)
        value, gradients = run(loss, name, columns, labels, guide)
    config = {**loss.get_config_dict()}
    if "guide" in config:
        config["guide"] = parameters["guide"]
    elif name in ("AnglELoss",):
        config["similarity_fct"] = "pairwise_angle_sim"
    labels = None if labels is None else np.asarray(labels, dtype=np.float64).reshape(len(labels), -1)
    cases.append({
        "name": name, "parameters": parameters, "columns": listed(columns), "labels": listed(labels), "guide": listed(guide),
        "value": value, "gradients": listed(gradients), "config": [[key, listed(item)] for key, item in config.items()],
    })


def duplicates(columns):
    """With a zero vector and two equal rows."""
    columns = [column.copy() for column in columns]
    columns[0][1] = 0.0
    columns[1][2] = columns[1][3]
    return columns


# In-batch negatives.
Q2D, Q2Q, D2Q, D2D = "query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"
MNRL = "MultipleNegativesRankingLoss"
for count in (2, 3, 4):
    case(MNRL, {}, vectors(count))
    case(MNRL, {"scale": 1.0, "similarity_fct": "dot_score"}, vectors(count))
    case(MNRL, {"directions": [Q2D, Q2Q, D2Q, D2D], "scale": 5.0}, vectors(count))
    case(MNRL, {"directions": [Q2D, D2Q], "partition_mode": "per_direction"}, vectors(count))
    for mode in ("in_batch_negatives", "hard_negatives", "all_negatives"):
        case(MNRL, {"scale": 10.0, "hardness_mode": mode, "hardness_strength": 5.0}, vectors(count))
case(MNRL, {}, duplicates(vectors(3)))
case(MNRL, {}, vectors(2, rows=1))
case(MNRL, {}, vectors(3, rows=1))
case(MNRL, {"directions": [Q2D, D2D], "hardness_mode": "all_negatives", "hardness_strength": 9.0,
            "similarity_fct": "dot_score", "scale": 0.5}, vectors(3))
case("MultipleNegativesSymmetricRankingLoss", {"scale": 12.0}, vectors(2))
case("MultipleNegativesSymmetricRankingLoss", {}, vectors(3))
case("CachedMultipleNegativesRankingLoss", {"directions": [Q2D, Q2Q], "mini_batch_size": 4}, vectors(3))
case("CachedMultipleNegativesSymmetricRankingLoss", {"mini_batch_num_tokens": 512}, vectors(2))

# Guided. Temperatures are those with which float32 similarities are exact enough.
GIST = "GISTEmbedLoss"
for count in (2, 3):
    case(GIST, {"guide": "g"}, vectors(count), guide=vectors(count, width=5))
    case(GIST, {"guide": "g", "temperature": 0.1, "margin_strategy": "absolute", "margin": 0.2},
         vectors(count), guide=vectors(count, width=5))
    case(GIST, {"guide": "g", "temperature": 0.1, "margin_strategy": "relative", "margin": 0.3, "contrast_anchors": False},
         vectors(count), guide=vectors(count, width=5))
    case(GIST, {"guide": "g", "temperature": 0.05, "margin": -2.5, "contrast_positives": False},
         vectors(count), guide=vectors(count, width=5))
case(GIST, {"guide": "g", "temperature": 0.1}, duplicates(vectors(3)), guide=duplicates(vectors(3)))
case("CachedGISTEmbedLoss", {"guide": "g", "temperature": 0.1, "margin": 0.1}, vectors(4), guide=vectors(4))

# Scores.
scores = [0.125, 0.875, 0.5, 0.5, 0.0, 1.0]
for similarity in ("pairwise_cos_sim", "pairwise_dot_score", "pairwise_euclidean_sim", "pairwise_manhattan_sim"):
    case("CoSENTLoss", {"similarity_fct": similarity, "scale": 3.0}, vectors(2), scores)
case("CoSENTLoss", {}, vectors(2), scores)
case("CoSENTLoss", {}, duplicates(vectors(2)), scores)
case("CoSENTLoss", {}, vectors(2), [1.0] * BATCH)
case("CoSENTLoss", {}, vectors(2, rows=1), [0.5])
case("AnglELoss", {}, vectors(2), scores)
case("AnglELoss", {"scale": 2.0}, vectors(2, width=7), scores)
case("AnglELoss", {"scale": 2.0}, duplicates(vectors(3)))
case("AnglELoss", {}, vectors(4), scores)
case("CosineSimilarityLoss", {}, vectors(2), scores)
case("CosineSimilarityLoss", {}, duplicates(vectors(2)), [-1.0, *scores[1:]])

# Distances.
for metric in ("EUCLIDEAN", "COSINE", "MANHATTAN"):
    for margin in (5, 0.25):
        case("TripletLoss", {"distance_metric": f"TripletDistanceMetric.{metric}", "triplet_margin": margin}, vectors(3))
same = vectors(3)
same[1][2] = same[0][2]
case("TripletLoss", {}, same)
binary = [1, 0, 0, 1, 1, 0]
for metric in ("COSINE_DISTANCE", "EUCLIDEAN", "MANHATTAN"):
    margin = {"COSINE_DISTANCE": 0.9, "EUCLIDEAN": 3.5, "MANHATTAN": 9.0}[metric]
    parameters = {"distance_metric": f"SiameseDistanceMetric.{metric}", "margin": margin}
    case("ContrastiveLoss", parameters, vectors(2), binary)
    case("OnlineContrastiveLoss", parameters, vectors(2), binary)
    case("OnlineContrastiveLoss", parameters, vectors(2), [0] * BATCH)
    case("OnlineContrastiveLoss", parameters, vectors(2), [1] * BATCH)
case("ContrastiveLoss", {"size_average": False}, vectors(2), [1, 0, 0.25, 1, 1, 0])
case("ContrastiveLoss", {}, duplicates(vectors(2)), binary)
case("OnlineContrastiveLoss", {}, duplicates(vectors(2)), binary)

# Teachers.
case("MSELoss", {}, vectors(1), vectors(1)[0])
case("MSELoss", {}, vectors(3), vectors(1)[0])
case("MSELoss", {}, vectors(2), np.stack(vectors(2), axis=1))
for similarity in ("pairwise_dot_score", "pairwise_cos_sim"):
    parameters = {"similarity_fct": similarity}
    case("MarginMSELoss", parameters, vectors(3), scores)
    case("MarginMSELoss", parameters, vectors(3), np.stack([scores, scores[::-1]], axis=1))
    case("MarginMSELoss", parameters, vectors(4), np.stack([scores, scores[::-1]], axis=1))
    case("MarginMSELoss", parameters, vectors(4), np.stack([scores, scores[::-1], binary], axis=1))

# Fewer dimensions.
M = "MatryoshkaLoss"
case(M, {"loss": MNRL, "matryoshka_dims": [8, 4, 2]}, vectors(3))
case(M, {"loss": {"name": MNRL, "scale": 5.0, "directions": [Q2D, D2Q], "partition_mode": "per_direction"},
         "matryoshka_dims": [3, 6], "matryoshka_weights": [0.5, 2]}, vectors(2))
case(M, {"loss": {"name": MNRL, "similarity_fct": "dot_score"}, "matryoshka_dims": [8, 5]}, vectors(2))
case(M, {"loss": "CoSENTLoss", "matryoshka_dims": [8, 4], "matryoshka_weights": [1, 0.3]}, vectors(2), scores)
case(M, {"loss": "MSELoss", "matryoshka_dims": [8, 3]}, vectors(2), vectors(1)[0])
case(M, {"loss": "MSELoss", "matryoshka_dims": [8, 3]}, vectors(2), np.stack(vectors(2), axis=1))
case(M, {"loss": "TripletLoss", "matryoshka_dims": [4]}, vectors(3))
case(M, {"loss": {"name": GIST, "guide": "g", "temperature": 0.1}, "matryoshka_dims": [8, 4]}, vectors(3),
     guide=vectors(3, width=5))

lines = ",\n".join(json.dumps(case) for case in cases)
Path(__file__).with_name("losses.json").write_text(f"[\n{lines}\n]\n")
print(f"{len(cases)} cases")
