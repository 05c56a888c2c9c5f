"""Run a sub-command of `minigen` in this process, for the tests of its sub-commands."""

from minigen import cli


def run(capsys, *arguments):
    """What the command says on stdout when all is well."""
    status = cli.main(list(map(str, arguments)))
    heard = capsys.readouterr()
    assert status == 0, heard.err
    return heard.out


def complaint(capsys, *arguments):
    """What a wrong request gets: one sentence on stderr, status 2, nothing on stdout, no traceback."""
    try:
        status = cli.main(list(map(str, arguments)))
    except SystemExit as leaving:  # argparse's own way
        status = leaving.code
    heard = capsys.readouterr()
    assert (status, heard.out) == (2, "")
    assert heard.err.startswith("minigen") and heard.err.count("\n") == 1
    return heard.err
