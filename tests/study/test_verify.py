"""`make verify`: committed values are found again, or those that are not are named."""

import pandas as pd
import pytest

from corrlib.study import verify
from corrlib.study.parameters import ParameterError
from corrlib.study.plan import plan_runs

COMMITTED = pd.DataFrame(
    {
        "study": "s",
        "backbone": ["a", "a", "b"],
        "setting": ["stage1", "self", "self"],
        "metric": "annotated mAP@10",
        "mean": [0.2, 0.3, 0.4],
        "low": [0.19, 0.28, 0.38],
        "high": [0.21, 0.31, 0.43],
        "seeds": 3,
    }
)


def test_the_same_numbers_are_found_again():
    table = verify.compare(COMMITTED, COMMITTED)
    assert table["within"].all()
    assert verify.report(table).startswith(
        "3 of 3 committed values were found again within their intervals; the greatest difference is 0.0000 points"
    )


def test_what_lies_outside_or_is_missing_is_named():
    again = COMMITTED.iloc[:2].assign(mean=[0.205, 0.3101])
    table = verify.compare(COMMITTED, again)
    assert table["within"].tolist() == [True, False, False]
    text = verify.report(table)
    assert "1 of 3" in text and "a, self, annotated mAP@10: committed 30.00 [28.00, 31.00], now 31.01" in text
    assert "b, self" in text and "a, stage1" not in text and "Others round otherwise" in text
    assert "Others" not in verify.report(verify.compare(COMMITTED, COMMITTED))


def test_it_computes_in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Nothing of the user's runs, corpora or figures is read or written; a failed study fails."""
    asked = []

    def reproduce(study, cores):
        asked.append((study, cores, plan_runs(study)["results"].parameters["figures"]))
        return 3

    monkeypatch.setattr(verify, "reproduce", reproduce)
    for name in ("CORRLIB_RUNS", "CORRLIB_DATA"):
        monkeypatch.setenv(name, "before")
    assert verify.verify("builtin", 2) == 3
    assert asked[0][:2] == ("builtin", 2) and "corrlib-verify-" in asked[0][2]


def test_a_study_without_committed_results_is_named():
    with pytest.raises(ParameterError, match="figures/clotho/results.csv does not exist"):
        monkey = pytest.MonkeyPatch()
        with monkey.context() as m:
            m.setenv("DATA", "x")
            verify.verify("clotho", 1)
