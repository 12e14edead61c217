# What is asked for often. `just --list` names them; each line runs as it stands in a shell too.

default:
    @just --list

# The page at http://127.0.0.1:7860
app *options:
    python app.py {{options}}

# The tests that are not slow: meant to take three minutes on two quiet cores
test *options:
    pytest -m "not slow" {{options}}

alias test-fast := test

# Every test but the long ones, as CI runs them
test-all *options:
    pytest {{options}}

# The tests that CI has no time for: a cluster, a notebook server, the longest measurements
test-long *options:
    pip install --quiet -e ".[test-long]"
    pytest -m long {{options}}

# Style and likely mistakes
lint:
    ruff check .
    ruff format --check .
    npm run --silent lint

# Lint, mended where a tool can
fix:
    ruff check --fix .
    ruff format .

types:
    mypy
    npm run --silent types

# The page's scripts without a browser
test-scripts:
    npm test --silent

# The documents' site, built strictly into site/
docs:
    mkdocs build --strict

# The same while you write
docs-serve:
    mkdocs serve

# The pictures of README and tour, made anew
screenshot:
    python -m tests.make_screenshot
    python -m tests.make_screenshot --tour

# Speed and memory beside the bare passes and beside peers
bench *options:
    OMP_NUM_THREADS=1 vit-explorer benchmarks {{options}}

# What CI does
check: lint types test-scripts docs test-all
