"""Measurements on run files, and their comparison between arms; reads only.

Each sub-room imports only those before it::

    runfile ← core ← figures ← measure ← studies
                        ↑
                     dataset

- `runfile` reads run files, OASIS databases and catalogs of banks, and gives a run as rows or as data frames.
- `core` says what a measurement is: its value, its definition in the registry, the statistics behind it.
- `figures` holds the measurements themselves, a subject a file.
- `measure` takes all of them of one run.
- `studies` compares runs of several arms and reports on a study.
- `dataset` exports runs as graph data sets; it rests on `runfile`, `core` and `figures`.
"""
