"""`GET /v1/languages`."""

from benchmarks.common.http import local
from languages.catalogue import all_languages
from tests.support.fakes import ScriptedModel
from tests.support.serving import app_in_thread
from tests.test_server import settings


def ask(**query: str) -> list[dict[str, str]]:
    with app_in_thread(settings(), ScriptedModel) as url:
        body = local.get(f"{url}/v1/languages", params=query).json()
    assert body["object"] == "list"
    data = body["data"]
    assert isinstance(data, list)
    return data


class TestLanguages:
    def test_all_are_listed_with_what_a_picker_needs(self) -> None:
        """Id, tag, name, script and direction."""
        listed = ask()

        assert len(listed) == 1672
        by_id = {entry["id"]: entry for entry in listed}
        assert set(by_id) == {entry.id for entry in all_languages()}
        assert by_id["bam_Latn"] == {
            "id": "bam_Latn",
            "tag": "bm",
            "name": "Bambara",
            "autonym": "bamanakan",
            "script": "Latn",
            "direction": "ltr",
        }
        assert by_id["arb_Arab"]["direction"] == "rtl"

    def test_a_query_finds_by_id_tag_and_name(self) -> None:
        """In any case; the best match comes first."""
        assert ask(q="bambara")[0]["id"] == "bam_Latn"
        assert ask(q="BAM")[0]["id"] == "bam_Latn"
        assert ask(q="zh-hant")[0]["id"] == "cmn_Hant"
        assert ask(q="no such language") == []
