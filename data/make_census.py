"""Draw census.csv.gz from the UCI file `census-income.data`: python make_census.py PATH.

That file (199,523 people, 42 columns, no header) is too large to ship. A fixed seed picks the rows.
Names are ours, values are theirs, except that "?" (not known) and "Not in universe" (not asked)
become empty in the columns where a question was put to some people only.
"""

import sys
from pathlib import Path

import pandas as pd

COLUMNS = {
    0: "age",
    39: "weeks_worked",
    30: "employer_size",
    5: "wage_per_hour",
    16: "capital_gains",
    17: "capital_losses",
    18: "dividends",
    4: "education",
    1: "worker_class",
    8: "industry",
    9: "occupation",
    7: "marital_status",
    23: "household",
    12: "sex",
    13: "union_member",
    34: "birth_country",
    41: "income",
}
N_ROWS = 6000


def main(source: str, target: Path) -> None:
    """Write the sample."""
    people = pd.read_csv(source, header=None, usecols=list(COLUMNS), skipinitialspace=True)
    people = people[list(COLUMNS)].rename(columns=COLUMNS)
    people = people[(people["age"] >= 18) & (people["weeks_worked"] > 0)]
    people = people.sample(N_ROWS, random_state=0)
    people["wage_per_hour"] = people["wage_per_hour"].where(people["wage_per_hour"] > 0) / 100
    for name in ("union_member", "birth_country"):
        people[name] = people[name].where(~people[name].isin(["?", "Not in universe"]))
    people["income"] = people["income"].map({"- 50000.": "up to 50k", "50000+.": "over 50k"})
    people.to_csv(target, index=False, compression={"method": "gzip", "mtime": 0})


if __name__ == "__main__":
    main(sys.argv[1], Path(__file__).with_name("census.csv.gz"))
