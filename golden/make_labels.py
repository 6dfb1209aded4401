"""Records golden/labels.json: agreement of clusterings and average precision with many equal scores, from scikit-learn."""

import json
import random
from pathlib import Path

from sklearn.metrics import average_precision_score, homogeneity_completeness_v_measure

random.seed(8)

CLUSTERINGS = [
    ([0, 0, 1, 1], [1, 1, 0, 0]),
    ([0, 0, 0, 0], [0, 1, 2, 3]),
    ([0, 1, 2, 3], [0, 0, 0, 0]),
    ([0, 1, 0, 1], [0, 0, 1, 1]),
    ([3], [7]),
    ([random.randrange(4) for _ in range(60)], [random.randrange(6) for _ in range(60)]),
]
PAIRS = [([random.randrange(levels) / 4 for _ in range(40)], [random.random() < 0.3 for _ in range(40)]) for levels in (1, 3, 1000)]

record = {
    "clusterings": [(a, b, homogeneity_completeness_v_measure(a, b)) for a, b in CLUSTERINGS],
    "pairs": [(s, l, float(average_precision_score(l, s))) for s, l in PAIRS],
}
Path(__file__).with_name("labels.json").write_text(json.dumps(record) + "\n")
