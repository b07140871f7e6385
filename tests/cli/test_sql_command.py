"""`atlas sql`: reads, prints every kind of value, refuses to write."""

import pytest
from answers import rows_of
from invocation import run, start
from synthetic import Synthetic

HUBS = "SELECT layer, neuron, facts FROM neuron_degrees ORDER BY facts DESC, neuron LIMIT 2"


def test_a_query_is_printed_as_table_json_and_csv(asked: Synthetic) -> None:
    assert run("sql", HUBS, on=asked).stdout == (
        "layer  neuron  facts\n────────────────────\n    3       0     12\n    3       1      6\n"
    )
    assert rows_of(run("sql", HUBS, "--format", "json", on=asked).stdout) == [
        {"layer": 3, "neuron": 0, "facts": 12},
        {"layer": 3, "neuron": 1, "facts": 6},
    ]
    assert run("sql", HUBS, "--format", "csv", on=asked).stdout == (
        "layer,neuron,facts\n3,0,12\n3,1,6\n"
    )


def test_a_dash_reads_the_query_from_standard_input(asked: Synthetic) -> None:
    result = run("sql", "-", "--format", "csv", on=asked, input=HUBS + ";\n")
    assert result.stdout == "layer,neuron,facts\n3,0,12\n3,1,6\n"


def test_every_kind_of_value_has_a_form_in_json_and_csv(asked: Synthetic) -> None:
    query = """
        SELECT NULL AS nothing,
               true AS yes,
               12345678901234567890 AS large,
               1.50::DECIMAL(4, 2) AS exact,
               'NaN'::DOUBLE AS nan,
               DATE '2026-01-02' AS day,
               TIMESTAMP '2026-01-02 03:04:05' AS moment,
               [1, 2] AS list,
               {'a': 'é'} AS struct,
               'a,"b"' AS text,
               'ab'::BLOB AS bytes
    """
    (row,) = rows_of(run("sql", query, "--format", "json", on=asked).stdout)
    assert row == {
        "nothing": None,
        "yes": True,
        "large": "12345678901234567890",
        "exact": "1.50",
        "nan": None,
        "day": "2026-01-02",
        "moment": "2026-01-02T03:04:05",
        "list": [1, 2],
        "struct": {"a": "é"},
        "text": 'a,"b"',
        "bytes": "6162",
    }
    assert run("sql", query, "--format", "csv", on=asked).stdout.splitlines()[1] == (
        ",true,12345678901234567890,1.50,nan,2026-01-02,2026-01-02T03:04:05,"
        '"[1, 2]","{""a"": ""é""}","a,""b""",6162'
    )


def test_columns_of_the_same_name_all_reach_json(asked: Synthetic) -> None:
    result = run("sql", "SELECT 1 AS a, 2 AS a, 3 AS a", "--format", "json", on=asked)
    assert rows_of(result.stdout) == [{"a": 1, "a_1": 2, "a_2": 3}]


def test_a_query_without_rows_still_prints_its_header(asked: Synthetic) -> None:
    query = "SELECT layer, neuron FROM knowledge_neurons WHERE false"
    assert run("sql", query, on=asked).stdout == "layer  neuron\n─────────────\n"
    assert run("sql", query, "--format", "csv", on=asked).stdout == "layer,neuron\n"
    assert rows_of(run("sql", query, "--format", "json", on=asked).stdout) == []


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE facts",
        "DELETE FROM facts",
        "SELECT * FROM no_such_table",
        "SELEC 1",
        "SELECT 1; SELECT 2",
        "",
    ],
)
def test_what_writes_or_does_not_parse_is_one_line(asked: Synthetic, query: str) -> None:
    result = run("sql", query, on=asked)
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert (result.stdout, result.exit_code) == ("", 1)
    assert run("sql", "SELECT count(*) AS n FROM facts", "--format", "csv", on=asked).stdout == (
        "n\n12\n"
    )


@pytest.mark.parametrize("format_", ["table", "csv", "json"])
def test_a_reader_that_stops_reading_is_no_error(asked: Synthetic, format_: str) -> None:
    query = "SELECT range AS n, 'x' AS filler FROM range(20000)"
    process = start("sql", query, "--format", format_, on=asked)
    assert process.stdout
    assert process.stderr
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1
    process.stderr.close()
    assert process.stdin
    process.stdin.close()


def test_the_dictionary_describes_every_view_and_table_and_column(asked: Synthetic) -> None:
    tables = rows_of(run("sql", "--explain-views", "--format", "json", on=asked).stdout)
    with asked.atlas.reading() as connection:
        schema = connection.execute(
            """
            SELECT table_name, column_name
            FROM duckdb_columns()
            WHERE NOT internal AND table_name <> 'alembic_version'
            """
        ).fetchall()
    assert sorted((t["name"], c["column"]) for t in tables for c in t["columns"]) == sorted(schema)
    undescribed = [t["name"] for t in tables if not t["description"]] + [
        f"{t['name']}.{c['column']}" for t in tables for c in t["columns"] if not c["description"]
    ]
    assert undescribed == [], "describe it in the migration that makes it, with COMMENT ON"
    kinds = [t["kind"] for t in tables]
    assert kinds == sorted(kinds, reverse=True)  # views first


def test_the_dictionary_as_table_and_csv(asked: Synthetic) -> None:
    text = run("sql", "--explain-views", on=asked).stdout
    assert (
        "view fact_sharing: two facts that share a neuron, in either order; "
        "of the default selection\n"
        "column          type     description\n"
    ) in text
    assert "fact_a          VARCHAR  a fact\n" in text
    header, first, *_ = run("sql", "--explain-views", "--format", "csv", on=asked).stdout.split(
        "\n"
    )
    assert header == "kind,name,column,type,description"
    assert first.startswith("view,all_fact_knowledge,run_id,VARCHAR,")


@pytest.mark.parametrize("arguments", [[], ["SELECT 1", "--explain-views"]])
def test_either_a_query_or_the_dictionary_is_asked_for(
    asked: Synthetic, arguments: list[str]
) -> None:
    result = run("sql", *arguments, on=asked)
    assert result.stderr.startswith("Error: Give one SQL query, or --explain-views.")
    assert result.exit_code == 2


def test_digits_that_a_double_does_not_hold_stay_in_json(asked: Synthetic) -> None:
    query = """
        SELECT 9223372036854775807 AS big,
               -9007199254740993 AS low,
               9007199254740992 AS held,
               0.1234567890123456789::DECIMAL(20, 19) AS exact,
               [9007199254740993] AS several
    """
    (row,) = rows_of(run("sql", query, "--format", "json", on=asked).stdout)
    assert row == {
        "big": "9223372036854775807",
        "low": "-9007199254740993",
        "held": 9007199254740992,
        "exact": "0.1234567890123456789",
        "several": ["9007199254740993"],
    }


@pytest.mark.parametrize("format_", ["csv", "json"])
def test_data_is_utf_8_whatever_the_locale(
    asked: Synthetic, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python takes the arguments for ASCII there, which was a traceback."""
    for name, value in (("LC_ALL", "C"), ("PYTHONUTF8", "0"), ("PYTHONCOERCECLOCALE", "0")):
        monkeypatch.setenv(name, value)
    process = start("sql", "SELECT 'Łódź' AS name", "--format", format_, on=asked)
    out, err = process.communicate(timeout=60)
    assert err == ""
    assert "Łódź" in out


def test_a_query_that_is_no_text_is_one_line(asked: Synthetic) -> None:
    result = run("sql", "SELECT '\udcff'", on=asked)
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: the SQL statement is not text in UTF-8: save or type it as such\n"
    )
