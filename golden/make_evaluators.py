"""Records golden/evaluators.json: what the evaluators of sentence-transformers find in the tiny model golden/models/bert.

Each case is the model with some files added: other prompts, another similarity function. All data is written here. Two
documents have the same text and so the same score, and their ids are in the other order than their rows: the evaluator
orders them by id. No other scores are so near each other that another machine could rank them differently.
"""

import json
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

from sentence_transformers import SentenceTransformer
import numpy as np
import torch
from numbers_alike import numbers
from sentence_transformers import InputExample
from sentence_transformers.losses import SoftmaxLoss
from sentence_transformers.sentence_transformer.evaluation import (
    BinaryClassificationEvaluator, EmbeddingSimilarityEvaluator, InformationRetrievalEvaluator, LabelAccuracyEvaluator, MSEEvaluator,
    ParaphraseMiningEvaluator, RerankingEvaluator, TranslationEvaluator, TripletEvaluator,
)
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from torch.utils.data import DataLoader

HERE = Path(__file__).parent

CORPUS = [
    ["d10", "Press the red button beside the film to upload it."],
    ["d02", "A lost password is replaced on the page of the account."],
    ["d07", "The boat leaves the harbour at nine."],
    ["d01", "Видео проверяют не дольше суток."],
    ["d05", "Trains in the mountains are late in winter."],
    ["d09", "Children under six travel free of charge."],
    ["d03", "Канал удаляют в настройках, восстановить его нельзя."],
    ["d04", "Trains in the mountains are late in winter."],
    ["d08", "The mill by the lake grinds rye and wheat."],
    ["d06", "Money comes back to the card within ten days."],
]
QUERIES = [
    {"id": "q1", "text": "How do I upload a video?", "relevant": ["d10"]},
    {"id": "q2", "text": "I forgot my password", "relevant": ["d02", "d10"]},
    {"id": "q3", "text": "why is the train late again", "relevant": ["d04"]},
    {"id": "q4", "text": "when does the winter train come", "relevant": ["d05", "d07", "d09"]},
    {"id": "q5", "text": "Как удалить канал?", "relevant": ["d03"]},
    {"id": "q6", "text": "Is the weather of any use?", "relevant": []},
    {"id": "q7", "text": "Чей это йогурт?", "relevant": ["d01", "d02", "d08", "d06"]},
]
PAIRS = [
    {"sentence1": "A cat sleeps on the chair.", "sentence2": "The chair has a sleeping cat on it.", "score": 0.95},
    {"sentence1": "A cat sleeps on the chair.", "sentence2": "Two dogs run to the lake.", "score": 0.1},
    {"sentence1": "The boat crossed the lake.", "sentence2": "They went over the water by boat.", "score": 0.8},
    {"sentence1": "Поезд опоздал.", "sentence2": "Поезд пришёл не вовремя.", "score": 0.9},
    {"sentence1": "He counts the boats.", "sentence2": "He counts the trains.", "score": 0.5},
    {"sentence1": "Buy bread, please.", "sentence2": "The mill is closed.", "score": 0.1},
    {"sentence1": "Она читает книгу.", "sentence2": "The mill is closed.", "score": 0},
]
TRIPLETS = [
    {"anchor": "Where is the harbour?", "positive": "The way to the boats", "negative": "Bread is baked at night."},
    {"anchor": "Поезд опоздал.", "positive": "Поезд пришёл не вовремя.", "negative": "The mill is closed."},
    {"anchor": "He counts the boats.", "positive": "a number of ships", "negative": "He counts the trains."},
    {"anchor": "Same on both sides", "positive": "No difference.", "negative": "No difference."},
    {"anchor": "Close the window", "positive": "It is cold in here, shut it!", "negative": "Open the door"},
]
BINARY = [
    {"sentence1": pair["sentence1"], "sentence2": pair["sentence2"], "label": int(pair["score"] > 0.6)} for pair in PAIRS
] + [
    {"sentence1": "The boat crossed the lake.", "sentence2": "They went over the water by boat.", "label": 0},
    {"sentence1": "Buy bread, please.", "sentence2": "The mill is closed.", "label": 1},
    {"sentence1": "The mill is closed.", "sentence2": "The mill is closed.", "label": 0},
    {"sentence1": "Trains run late.", "sentence2": "Trains are never on time.", "label": 1},
]
PARAPHRASES = [
    {"id": "a", "text": "Buy bread, please.", "duplicates": ["c"]},
    {"id": "b", "text": "The mill is closed.", "duplicates": ["e"]},
    {"id": "c", "text": "Please get some bread.", "duplicates": ["d"]},
    {"id": "d", "text": "We need bread, bring it.", "duplicates": []},
    {"id": "e", "text": "Nobody works at the mill today.", "duplicates": []},
    {"id": "f", "text": "Поезд опоздал.", "duplicates": ["g"]},
    {"id": "g", "text": "Поезд пришёл не вовремя.", "duplicates": []},
    {"id": "h", "text": "Two dogs run to the lake.", "duplicates": []},
    {"id": "i", "text": "The mill is closed.", "duplicates": []},
]
RERANKING = [
    {"query": "How do I upload a video?", "positive": ["Press the red button.", "Upload it on the page of films."],
     "negative": ["The boat leaves at nine.", "Buy bread, please.", "The mill is closed."]},
    {"query": "when does the boat leave", "positive": ["The boat leaves at nine."],
     "negative": ["The boat leaves at nine.", "Trains run late.", "Two dogs run to the lake."]},
    {"query": "Где поезд?", "positive": ["Поезд опоздал."], "negative": ["Она читает книгу.", "Поезд пришёл не вовремя."]},
    {"query": "nothing answers", "positive": ["Yes."], "negative": []},
]
TRANSLATION = [
    {"source": "The train is late.", "target": "Поезд опоздал."},
    {"source": "She reads a book.", "target": "Она читает книгу."},
    {"source": "The mill is closed.", "target": "Мельница закрыта."},
    {"source": "The mill does not work.", "target": "Мельница закрыта."},
    {"source": "Two dogs run.", "target": "Бегут две собаки."},
    {"source": "Buy bread.", "target": "Купи хлеба."},
]
LABELLED = [
    {"text": pair["sentence1"], "other": pair["sentence2"], "label": label}
    for pair, label in zip(BINARY, ["same", "other", "other", "near", "same", "same", "same", "other", "near", "near", "same"], strict=True)
]
CLASSES = ["near", "other", "same"]
# Of no meaning: the weights of a head over [u, v, |u - v|].
HEAD = {"coef": numbers(3 * 96, 7).reshape(3, 96).tolist(), "intercept": [-2.7, -0.9, 0.6]}
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]
FILES = {"modules.json": MODULES, "1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True},
         "sentence_bert_config.json": {"max_seq_length": 48, "do_lower_case": False}}
PROMPTS = {"query": "The question: ", "document": "An answer to it: "}


def named(value):
    """(name, value), in the order of the evaluator."""
    return [[key, float(number)] for key, number in value.items()]


def case(name, evaluator_name, **settings):
    files = dict(FILES)
    if settings:
        files["config_sentence_transformers.json"] = {"model_type": "SentenceTransformer", **settings}
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(HERE / "models" / "bert", folder, dirs_exist_ok=True)
        for path, value in files.items():
            (Path(folder) / path).parent.mkdir(exist_ok=True)
            (Path(folder) / path).write_text(json.dumps(value))
        model = SentenceTransformer(folder, device="cpu")
    queries = model.encode_query([query["text"] for query in QUERIES], convert_to_tensor=True)
    documents = model.encode_document([text for _, text in CORPUS], convert_to_tensor=True)
    for scores in model.similarity(queries, documents).tolist():
        assert scores[4] == scores[7], "the same text"
        gaps = [abs(b - a) for a, b in pairwise(sorted(set(scores)))]
        assert min(gaps) > 2e-6 * max(map(abs, scores)), f"{name}: scores {min(gaps)} apart"

    sides = [model.encode([pair[key] for pair in PAIRS], convert_to_tensor=True) for key in ["sentence1", "sentence2"]]
    scores = sorted(model.similarity_pairwise(*sides).tolist())
    assert min(b - a for a, b in pairwise(scores)) > 2e-6 * max(map(abs, scores)), f"{name}: pairs too close"

    evaluators = {
        "information_retrieval": InformationRetrievalEvaluator(
            {query["id"]: query["text"] for query in QUERIES}, dict(CORPUS),
            {query["id"]: set(query["relevant"]) for query in QUERIES}, name=evaluator_name),
        "embedding_similarity": EmbeddingSimilarityEvaluator(
            *([pair[key] for pair in PAIRS] for key in ["sentence1", "sentence2", "score"]), name=evaluator_name),
        "triplet": TripletEvaluator(
            *([triplet[key] for triplet in TRIPLETS] for key in ["anchor", "positive", "negative"]), name=evaluator_name),
    }
    column = lambda rows, key: [row[key] for row in rows]
    ids = {row["id"]: row["text"] for row in PARAPHRASES}
    duplicates = [(row["id"], other) for row in PARAPHRASES for other in row["duplicates"]]
    teacher = SentenceTransformer(str(HERE / "models" / "bert"), device="cpu")
    evaluators.update({
        "binary": BinaryClassificationEvaluator(
            column(BINARY, "sentence1"), column(BINARY, "sentence2"), column(BINARY, "label"), name=evaluator_name),
        "paraphrases": ParaphraseMiningEvaluator(ids, duplicates, name=evaluator_name),
        "closed_paraphrases": ParaphraseMiningEvaluator(ids, duplicates, add_transitive_closure=True, name=evaluator_name, max_pairs=12),
        "reranking": RerankingEvaluator(RERANKING, at_k=3, name=evaluator_name),
        "translation": TranslationEvaluator(column(TRANSLATION, "source"), column(TRANSLATION, "target"), name=evaluator_name),
        "mse": MSEEvaluator(column(TRANSLATION, "source"), column(TRANSLATION, "target"), teacher_model=teacher, name=evaluator_name),
    })
    loss = SoftmaxLoss(model, sentence_embedding_dimension=32, num_labels=3)
    with torch.no_grad():
        loss.classifier.weight.copy_(torch.tensor(HEAD["coef"]))
        loss.classifier.bias.copy_(torch.tensor(HEAD["intercept"]))
    examples = [InputExample(texts=[row["text"], row["other"]], label=CLASSES.index(row["label"])) for row in LABELLED]
    evaluators["label_accuracy"] = LabelAccuracyEvaluator(DataLoader(examples, batch_size=4), name=evaluator_name, softmax_model=loss)
    results = {}
    for key, evaluator in evaluators.items():
        metrics = named(evaluator(model))
        results[key] = {"primary_metric": evaluator.primary_metric, "metrics": metrics}
    # Bitext mining as MTEB 1.x and 2.x define it: the nearest target of each source, weighted means over the pairs.
    sides = [model.encode(column(TRANSLATION, key), normalize_embeddings=True) for key in ["source", "target"]]
    nearest = np.argmax(sides[0] @ sides[1].T, axis=1)
    gold = np.arange(len(TRANSLATION))
    precision, recall, f1, _ = precision_recall_fscore_support(gold, nearest, average="weighted", zero_division=0)
    prefix = f"{evaluator_name}_" if evaluator_name else ""
    results["bitext"] = {"primary_metric": f"{prefix}f1", "metrics": [
        [f"{prefix}f1", f1], [f"{prefix}accuracy", accuracy_score(gold, nearest)],
        [f"{prefix}precision", precision], [f"{prefix}recall", recall]]}
    return {"name": name, "evaluator_name": evaluator_name, "files": files, "results": results}


record = {
    "corpus": CORPUS,
    "queries": QUERIES,
    "pairs": PAIRS,
    "triplets": TRIPLETS,
    "binary": BINARY,
    "paraphrases": PARAPHRASES,
    "reranking": RERANKING,
    "translation": TRANSLATION,
    "labelled": LABELLED,
    "classes": CLASSES,
    "head": HEAD,
    "cases": [
        case("plain", "tiny"),
        case("without a name", "", similarity_fn_name="dot"),
        case("prompts", "with_prompts", prompts=PROMPTS, default_prompt_name=None, similarity_fn_name="cosine"),
        case("euclidean", "far", prompts=PROMPTS, default_prompt_name="query", similarity_fn_name="euclidean"),
        case("manhattan", "block", similarity_fn_name="manhattan"),
    ],
}
(HERE / "evaluators.json").write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n")
