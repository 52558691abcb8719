"""The paper's own numbers as a table."""

from benchmarks.published import published_table


def test_published_table_names_source_and_caveat() -> None:
    text = published_table()
    assert "WACV 2022" in text
    assert "Not comparable" in text
    assert "| CelebA | PSNR | 27.03 | 25.88 | 28.21 | 28.13 | 30.49 |" in text
    assert sum(line.startswith("| ") for line in text.splitlines()) == 2 + 9
