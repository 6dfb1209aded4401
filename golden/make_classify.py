"""Classification by scikit-learn: golden/classify.json. Rows are made again by the test from the same integers (`numbers_alike.py`)."""

import json
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import classification_report, confusion_matrix, log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_score

from numbers_alike import numbers


def data(rows, width, classes, seed):
    """Rows around a center for each class; the classes have different sizes and come mixed."""
    centers = numbers(classes * width, seed).reshape(classes, width)
    labels = [(i * i + i // 3) % 7 % classes for i in range(rows)]
    noise = numbers(rows * width, seed + 1).reshape(rows, width)
    return (centers[labels] + np.float32(1.5) * noise).astype(np.float32), np.array(labels)


fits, folds, searches, reports = [], [], [], []
for rows, width, classes, c, balanced in [
    (60, 5, 2, 1.0, False), (90, 6, 3, 1.0, False), (90, 6, 3, 0.01, True), (200, 20, 7, 10.0, False), (60, 5, 2, 0.5, True),
]:
    x, y = data(rows, width, classes, classes)
    model = LogisticRegression(C=c, class_weight="balanced" if balanced else None, tol=1e-9, max_iter=10_000).fit(x.astype(np.float64), y)
    test, _ = data(20, width, classes, classes + 50)
    probabilities = model.predict_proba(test.astype(np.float64))
    fits.append({
        "rows": rows, "width": width, "classes": classes, "c": c, "balanced": balanced,
        "coef": model.coef_.tolist(), "intercept": model.intercept_.tolist(), "probabilities": probabilities.tolist(),
    })
    kept = np.round(probabilities, 6)
for rows, classes, splits in [(60, 2, 5), (90, 3, 4), (200, 7, 5), (91, 3, 2)]:
    _, y = data(rows, 2, classes, 1)
    own = np.zeros(rows, dtype=int)
    for fold, (_, test) in enumerate(StratifiedKFold(splits).split(np.zeros(rows), y)):
        own[test] = fold
    folds.append({"rows": rows, "classes": classes, "splits": splits, "folds": own.tolist()})
x, y = data(120, 6, 3, 9)
for splits in [3, 5]:
    grid = np.logspace(-4, 4, 10)
    means = [
        cross_val_score(LogisticRegression(C=c, tol=1e-8, max_iter=10_000), x.astype(np.float64), y, cv=StratifiedKFold(splits)).mean()
        for c in grid
    ]
    searches.append({"rows": 120, "width": 6, "classes": 3, "seed": 9, "splits": splits, "means": means})
for labels, predicted, classes in [
    ([0, 0, 1, 1, 2, 2, 2, 0], [0, 1, 1, 1, 2, 0, 2, 0], 3), ([0, 0, 1, 2], [0, 0, 0, 0], 3), ([1, 1, 0, 0, 3], [1, 0, 0, 3, 3], 4),
]:
    report = classification_report(labels, predicted, output_dict=True, zero_division=0)
    reports.append({
        "labels": labels, "predicted": predicted, "classes": classes, "accuracy": float(np.mean(np.array(labels) == predicted)),
        "confusion": confusion_matrix(labels, predicted, labels=range(classes)).tolist(),
        "by_class": [[report.get(str(i), {}).get(key, 0.0) for key in ["precision", "recall", "f1-score"]] for i in range(classes)],
        "macro": [report["macro avg"][key] for key in ["precision", "recall", "f1-score"]],
        "weighted": [report["weighted avg"][key] for key in ["precision", "recall", "f1-score"]],
    })
path = Path(__file__).parent / "classify.json"
path.write_text(json.dumps({"fits": fits, "folds": folds, "searches": searches, "reports": reports}) + "\n")
print(path, path.stat().st_size)
