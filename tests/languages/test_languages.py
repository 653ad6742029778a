"""Tests of languages/codes.py: which code means which language, and how it is named."""

import ast
import contextlib
import hashlib
import importlib.util
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from languages.catalogue import (
    BY_ID,
    RIGHT_TO_LEFT,
    SCRIPT_NAMES,
    all_languages,
    to_bcp47,
)
from languages.codes import UnknownLanguage, resolve_language
from languages.scripts import SCRIPT_SAMPLE, main_script
from languages.search import MAX_NEAR, MAX_TAG, search_languages

# All 184 two-letter codes of the ISO 639-3 code table, with `sh`, which ISO 639-1
# has withdrawn. A dash: omnilingual-asr has no such language.
ISO_639_1 = """
aa -          ab abk_Cyrl   ae -          af afr_Latn   ak aka_Latn   am amh_Ethi
an arg_Latn   ar arb_Arab   as asm_Beng   av ava_Cyrl   ay ayr_Latn   az aze_Latn
ba bak_Cyrl   be bel_Cyrl   bg bul_Cyrl   bi bis_Latn   bm bam_Latn   bn ben_Beng
bo bod_Tibt   br bre_Latn   bs bos_Latn   ca cat_Latn   ce che_Cyrl   ch -
co -          cr -          cs ces_Latn   cu -          cv chv_Cyrl   cy cym_Latn
da dan_Latn   de deu_Latn   dv div_Thaa   dz dzo_Tibt   ee ewe_Latn   el ell_Grek
en eng_Latn   eo epo_Latn   es spa_Latn   et ekk_Latn   eu eus_Latn   fa fas_Arab
ff ful_Latn   fi fin_Latn   fj fij_Latn   fo fao_Latn   fr fra_Latn   fy fry_Latn
ga gle_Latn   gd -          gl glg_Latn   gn grn_Latn   gu guj_Gujr   gv glv_Latn
ha hau_Latn   he heb_Hebr   hi hin_Deva   ho -          hr hrv_Latn   ht hat_Latn
hu hun_Latn   hy hye_Armn   hz her_Latn   ia ina_Latn   id ind_Latn   ie -
ig ibo_Latn   ii -          ik ipk_Latn   io -          is isl_Latn   it ita_Latn
iu -          ja jpn_Jpan   jv jav_Latn   ka kat_Geor   kg -          ki kik_Latn
kj kua_Latn   kk kaz_Cyrl   kl -          km khm_Khmr   kn kan_Knda   ko kor_Hang
kr knc_Latn   ks kas_Arab   ku kmr_Latn   kv kpv_Cyrl   kw cor_Latn   ky kir_Cyrl
la lat_Latn   lb ltz_Latn   lg lug_Latn   li -          ln lin_Latn   lo lao_Laoo
lt lit_Latn   lu -          lv lav_Latn   mg mlg_Latn   mh mah_Latn   mi mri_Latn
mk mkd_Cyrl   ml mal_Mlym   mn mon_Cyrl   mr mar_Deva   ms zsm_Latn   mt mlt_Latn
my mya_Mymr   na -          nb nob_Latn   nd -          ne nep_Deva   ng ndo_Latn
nl nld_Latn   nn nob_Latn   no nob_Latn   nr -          nv -          ny nya_Latn
oc oci_Latn   oj -          om orm_Latn   or ory_Orya   os oss_Cyrl   pa pan_Guru
pi -          pl pol_Latn   ps pus_Arab   pt por_Latn   qu quz_Latn
rm roh_Latn_surs1244        rn run_Latn   ro ron_Latn   ru rus_Cyrl   rw kin_Latn
sa hin_Deva   sc srd_Latn   sd snd_Arab   se -          sg sag_Latn   sh srp_Cyrl
si sin_Sinh   sk slk_Latn   sl slv_Latn   sm smo_Latn   sn sna_Latn   so som_Latn
sq als_Latn   sr srp_Cyrl   ss -          st -          su sun_Latn   sv swe_Latn
sw swh_Latn   ta tam_Taml   te tel_Telu   tg tgk_Cyrl   th tha_Thai   ti tir_Ethi
tk tuk_Latn   tl tgl_Latn   tn tsn_Latn   to -          tr tur_Latn   ts tso_Latn
tt tat_Cyrl   tw aka_Latn   ty -          ug uig_Arab   uk ukr_Cyrl   ur urd_Arab
uz uzb_Latn   ve -          vi vie_Latn   vo -          wa -          wo wol_Latn
xh xho_Latn   yi ydd_Hebr   yo yor_Latn   za zyb_Latn   zh cmn_Hans   zu zul_Latn
"""
CODES = tuple(zip(ISO_639_1.split()[::2], ISO_639_1.split()[1::2], strict=True))

# Whisper's own list of languages.
WHISPER = """
en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da
hu ta no th ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy
ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo ht
ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue
""".split()

IDS = tuple(entry.id for entry in all_languages())

# SHA-256 of omnilingual-asr 0.2.0's ids, sorted, one a line.
IDS_SHA256 = "4ed055351d58fcb9d3c08e8283fc0769f0f039ac4a4ba684283cd579b5b95b1a"


def upstream_ids() -> list[str] | None:
    """Return omnilingual-asr's list from its source; None if not installed."""
    package = importlib.util.find_spec("omnilingual_asr")  # imports nothing
    if package is None or not package.submodule_search_locations:
        return None
    source = Path(package.submodule_search_locations[0])
    source = source / "models" / "wav2vec2_llama" / "lang_ids.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"no list in {source}")


class TestCatalogue:
    def test_has_exactly_the_ids_of_omnilingual_asr(self) -> None:
        """The data file has every supported language and no other.

        The checksum stands for the list in an environment without the package; in
        one that has it, both must agree.
        """
        checksum = hashlib.sha256("\n".join(IDS).encode()).hexdigest()

        assert len(IDS) == 1672
        assert checksum == IDS_SHA256
        assert (upstream_ids() or list(IDS)) == list(IDS)

    def test_is_sorted_and_has_no_id_tag_or_name_twice(self) -> None:
        """A tag or a name that two entries shared would not say which is meant."""
        entries = all_languages()

        assert list(IDS) == sorted(IDS)
        assert len({entry.tag.lower() for entry in entries}) == len(entries)
        assert len({entry.name.lower() for entry in entries}) == len(entries)

    def test_names_are_presentable(self) -> None:
        """No name is empty, decomposed, padded or says what kind of code it is."""
        for entry in all_languages():
            for name in (entry.name, entry.other_name, entry.autonym):
                assert name == unicodedata.normalize("NFC", name.strip())
                assert "Unknown" not in name
                assert "individual language" not in name
                assert "macrolanguage" not in name
            assert entry.name

    @pytest.mark.parametrize(
        ("language_id", "tag", "name"),
        [
            ("eng_Latn", "en", "English"),
            ("bam_Latn", "bm", "Bambara"),
            ("aae_Latn", "aae", "Arbëreshë Albanian"),
            ("swh_Latn", "sw", "Swahili"),
            ("arb_Arab", "ar", "Standard Arabic"),
            ("ory_Orya", "or", "Odia"),
            ("nep_Deva", "ne", "Nepali"),
            ("kor_Hang", "ko", "Korean"),
            ("jpn_Jpan", "ja", "Japanese"),
            ("cmn_Hans", "zh", "Mandarin Chinese (Simplified)"),
            ("cmn_Hant", "zh-Hant", "Mandarin Chinese (Traditional)"),
            ("yue_Hans", "yue-Hans", "Cantonese (Simplified)"),
            ("uzb_Cyrl", "uz-Cyrl", "Uzbek (Cyrillic)"),
            ("uzb_Latn", "uz", "Uzbek (Latin)"),
            ("uzn_Latn", "uzn", "Northern Uzbek"),
            ("urd_Deva", "ur-Deva", "Urdu (Devanagari)"),
            ("crk_Cans", "crk", "Plains Cree (Syllabics)"),
            ("kur_Arab", "ku-Arab", "Kurdish"),
            ("kmr_Latn", "kmr", "Northern Kurdish (Latin)"),
            ("fil_Latn", "fil", "Filipino"),
            ("tgl_Latn", "tl", "Tagalog"),
            ("apc_Arab", "apc", "Levantine Arabic"),
            ("nan_Latn", "nan-Latn", "Min Nan Chinese"),
            ("grc_Grek", "grc", "Ancient Greek"),
            ("ell_Grek", "el", "Greek"),
            ("ell_Grek_cypr1249", "el-x-cypr1249", "Cypriot Greek"),
            ("lld_Latn_gherd", "lld-gherd", "Ladin (Gherdëina)"),
            ("lld_Latn_valbadia", "lld-valbadia", "Ladin (Val Badia)"),
            ("roh_Latn_surs1244", "rm-sursilv", "Romansh (Sursilvan)"),
        ],
    )
    def test_names_and_tags_of_odd_entries_are_right(
        self, language_id: str, tag: str, name: str
    ) -> None:
        """Macrolanguages, shared languages and dialects are named and tagged well."""
        entry = BY_ID[language_id]

        assert (entry.tag, entry.name) == (tag, name)

    def test_every_script_is_named_and_none_is_superfluous(self) -> None:
        """The table of scripts has exactly those that the ids use."""
        assert {entry.script for entry in all_languages()} == set(SCRIPT_NAMES)
        assert set(SCRIPT_NAMES) > RIGHT_TO_LEFT

    @pytest.mark.parametrize(
        ("language_id", "script", "script_name", "direction"),
        [
            ("eng_Latn", "Latn", "Latin", "ltr"),
            ("urd_Arab", "Arab", "Arabic", "rtl"),
            ("heb_Hebr", "Hebr", "Hebrew", "rtl"),
            ("div_Thaa", "Thaa", "Thaana", "rtl"),
            ("ell_Grek_cypr1249", "Grek", "Greek", "ltr"),
        ],
    )
    def test_script_and_direction_follow_from_the_id(
        self, language_id: str, script: str, script_name: str, direction: str
    ) -> None:
        """An entry says how its script is called and which way it runs."""
        entry = BY_ID[language_id]

        assert entry.script == script
        assert entry.script_name == script_name
        assert entry.direction == direction


class TestTwoLetterCodes:
    def test_table_has_all_184(self) -> None:
        """No ISO 639-1 code is left out of the table."""
        assert len(dict(CODES)) == len(CODES) == 184
        assert sum(expected == "-" for _, expected in CODES) == 30

    @pytest.mark.parametrize(("code", "expected"), CODES)
    def test_means_what_the_table_says(self, code: str, expected: str) -> None:
        """Each code means the language of the table, or is refused."""
        if expected == "-":
            with pytest.raises(UnknownLanguage):
                resolve_language(code)
        else:
            assert resolve_language(code) == expected


class TestResolving:
    @pytest.mark.parametrize(
        "code", [None, "", " ", "auto", "AUTO", "und", "mul", "multi", "und-Latn"]
    )
    def test_no_language_is_none(self, code: str | None) -> None:
        """What clients send to leave the language open is not an error."""
        assert resolve_language(code) is None

    def test_every_id_resolves_in_any_spelling(self) -> None:
        """Case and the choice of `-` or `_` never matter (Pipecat lower-cases)."""
        for language_id in IDS:
            assert resolve_language(language_id) == language_id
            assert resolve_language(language_id.lower()) == language_id
            assert (
                resolve_language(language_id.upper().replace("_", "-")) == language_id
            )

    def test_every_tag_comes_back_to_its_id(self) -> None:
        """A client may send back the tag it was given, without exception."""
        for language_id in IDS:
            assert resolve_language(to_bcp47(language_id)) == language_id

    def test_every_three_letter_code_finds_its_own_language(self) -> None:
        """LiveKit cuts the script off, and the language must survive that.

        `kur` is the exception that CLDR makes: Kurdish without a script is Northern
        Kurdish in Latin. `lld` has two dialects and nothing to choose by.
        """
        codes = {language_id.split("_")[0] for language_id in IDS} - {"kur", "lld"}

        for code in codes:
            assert str(resolve_language(code)).startswith(f"{code}_")
        assert resolve_language("kur") == "kmr_Latn"
        with pytest.raises(UnknownLanguage):
            resolve_language("lld")

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            # What Pipecat sends over HTTP and WebSocket.
            ("en", "eng_Latn"),
            ("zh", "cmn_Hans"),
            ("zh-Hant", "cmn_Hant"),
            ("bam_Latn", "bam_Latn"),
            ("bam_latn", "bam_Latn"),
            # What LiveKit leaves of cmn_Hans, bam_Latn, fr-CA.
            ("bam", "bam_Latn"),
            ("fr", "fra_Latn"),
            # Browsers and people.
            ("en-US", "eng_Latn"),
            ("en_us", "eng_Latn"),
            ("eng", "eng_Latn"),
            ("ENG_latn", "eng_Latn"),
            ("es-419", "spa_Latn"),
            ("pt-BR", "por_Latn"),
            ("de-CH-1996", "deu_Latn"),
            ("en-u-co-phonebk", "eng_Latn"),
            (" fr ", "fra_Latn"),
        ],
    )
    def test_what_clients_send_is_understood(self, code: str, expected: str) -> None:
        """Short codes, long codes, regions and variants lead to the language."""
        assert resolve_language(code) == expected

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("zh-TW", "cmn_Hant"),
            ("zh-HK", "cmn_Hant"),
            ("zh-CN", "cmn_Hans"),
            ("zh-Hans-SG", "cmn_Hans"),
            ("cmn-TW", "cmn_Hant"),
            ("yue", "yue_Hant"),
            ("yue-CN", "yue_Hans"),
            ("az-IR", "aze_Arab"),
            ("uz-Cyrl", "uzb_Cyrl"),
            ("ku-Arab", "kur_Arab"),
            ("kmr-Arab", "kmr_Arab"),
            ("ur-Latn", "urd_Latn"),
            ("ur-Aran", "urd_Arab"),
            ("pa-Arab", "pnb_Arab"),
            ("pa-PK", "pnb_Arab"),
            ("uz-AF", "uzb_Latn"),  # Arabic script is expected there, and not listed
        ],
    )
    def test_script_and_region_choose_the_entry(self, code: str, expected: str) -> None:
        """Among the entries of a language the script decides, and region implies it."""
        assert resolve_language(code) == expected

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("ko-Kore", "kor_Hang"),
            ("ko-KR", "kor_Hang"),
            ("sr-Latn", "srp_Cyrl"),
            ("eng_Cyrl", "eng_Latn"),
            ("el-Latn", "ell_Grek"),
            ("el-CY", "ell_Grek"),
        ],
    )
    def test_only_entry_is_taken_in_any_script(self, code: str, expected: str) -> None:
        """A language listed once is meant, even if another script is asked for."""
        assert resolve_language(code) == expected

    @pytest.mark.parametrize("code", ["cmo", "ojb", "rif", "rmc", "rmy"])
    def test_latin_is_taken_where_cldr_expects_no_listed_script(
        self, code: str
    ) -> None:
        """Five languages are listed in two scripts without CLDR preferring one."""
        assert resolve_language(code) == f"{code}_Latn"

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("no", "nob_Latn"),
            ("nor", "nob_Latn"),
            ("nb-NO", "nob_Latn"),
            ("ara", "arb_Arab"),
            ("zho", "cmn_Hans"),
            ("msa", "zsm_Latn"),
            ("swa", "swh_Latn"),
            ("est", "ekk_Latn"),
            ("sqi", "als_Latn"),
            ("yid", "ydd_Hebr"),
            ("ori", "ory_Orya"),
            ("que", "quz_Latn"),
            ("twi", "aka_Latn"),
            ("pes", "fas_Arab"),
            ("prs", "fas_Arab"),
            ("zh-yue", "yue_Hant"),
            ("ar-arz", "arz_Arab"),
            ("ar-EG", "arb_Arab"),
        ],
    )
    def test_macrolanguages_and_members_stand_for_each_other(
        self, code: str, expected: str
    ) -> None:
        """What CLDR treats as the same language is the same language here."""
        assert resolve_language(code) == expected

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("iw", "heb_Hebr"),
            ("in", "ind_Latn"),
            ("ji", "ydd_Hebr"),
            ("jw", "jav_Latn"),
            ("mo", "ron_Latn"),
            ("hbs", "srp_Cyrl"),
            ("chi", "cmn_Hans"),
            ("ger", "deu_Latn"),
            ("may", "zsm_Latn"),
            ("no-bok", "nob_Latn"),
            ("zh-min-nan", "nan_Latn"),
            ("zh-guoyu", "cmn_Hans"),
        ],
    )
    def test_retired_and_bibliographic_codes_are_understood(
        self, code: str, expected: str
    ) -> None:
        """Old names of a language still lead to it."""
        assert resolve_language(code) == expected

    @pytest.mark.parametrize("code", ["fil", "tgl", "tl"])
    def test_filipino_and_tagalog_stay_apart(self, code: str) -> None:
        """CLDR merges the two, but both are listed."""
        expected = "fil_Latn" if code == "fil" else "tgl_Latn"

        assert resolve_language(code) == expected


class TestUnknownCodes:
    @pytest.mark.parametrize(
        "code",
        [
            "xx",
            "gd",
            "sot",
            "zxx",
            "english",
            "x-foo",
            "en-",
            "-",
            "e",
            "en US",
            "zh-Latn",
            "français",
            "\x00",
            "\u212ao",  # the Kelvin sign, whose lower case is `k`
        ],
    )
    def test_is_refused(self, code: str) -> None:
        """What means no listed language is an error that carries the code."""
        with pytest.raises(UnknownLanguage) as caught:
            resolve_language(code)

        assert caught.value.code == code
        assert len(caught.value.near) <= MAX_NEAR

    @pytest.mark.parametrize("piece", ["a", "-variant", "é"])
    def test_endless_code_is_refused_in_few_words(self, piece: str) -> None:
        """A megabyte of language costs neither a recursion nor a long answer."""
        with pytest.raises(UnknownLanguage) as caught:
            resolve_language("en" + piece * 100_000)

        assert len(str(caught.value)) < 10 * MAX_TAG

    @pytest.mark.parametrize(
        ("code", "nearest"),
        [
            ("english", "eng_Latn"),
            ("englsh", "eng_Latn"),
            ("Portugese", "por_Latn"),
            ("engl", "eng_Latn"),
            ("mandarin", "cmn_Hans"),
            ("bengali", "ben_Beng"),
            ("Côte", "neb_Latn"),
            ("deuu", "deu_Latn"),
        ],
    )
    def test_names_and_typing_errors_get_near_matches(
        self, code: str, nearest: str
    ) -> None:
        """The first suggestion is what was most likely meant."""
        with pytest.raises(UnknownLanguage) as caught:
            resolve_language(code)

        assert caught.value.near[0].id == nearest
        assert nearest in str(caught.value)

    def test_only_the_likeliest_are_suggested(self) -> None:
        """Where one is clearly meant, others that are a little alike stay away."""
        with pytest.raises(UnknownLanguage) as caught:
            resolve_language("Portugese")

        assert [entry.id for entry in caught.value.near] == ["por_Latn"]

    def test_ambiguous_code_suggests_the_entries(self) -> None:
        """Where a choice is needed, the error offers it."""
        with pytest.raises(UnknownLanguage) as chinese:
            resolve_language("zh-Latn")
        with pytest.raises(UnknownLanguage) as ladin:
            resolve_language("lld-IT")

        assert [entry.id for entry in chinese.value.near] == ["cmn_Hans", "cmn_Hant"]
        assert [entry.id for entry in ladin.value.near] == [
            "lld_Latn_gherd",
            "lld_Latn_valbadia",
        ]

    @pytest.mark.parametrize(
        ("code", "near"),
        [
            ("nn", "nob_Latn"),
            ("nno", "nob_Latn"),
            ("nn-NO", "nob_Latn"),
            ("no-nyn", "nob_Latn"),
            ("sa", "hin_Deva"),
            ("san-Deva", "hin_Deva"),
        ],
    )
    def test_what_whispers_clients_send_means_the_nearest(
        self, code: str, near: str
    ) -> None:
        """Nynorsk and Sanskrit are not in the catalogue; their relatives are."""
        assert resolve_language(code) == near
        with pytest.raises(UnknownLanguage):
            resolve_language(code, nearest=False)

    @pytest.mark.parametrize("code", WHISPER)
    def test_every_language_of_whisper_means_something(self, code: str) -> None:
        """Its clients send nothing else, and choose from a list."""
        assert resolve_language(code) in IDS

    def test_correct_code_of_an_unsupported_language_gets_no_lookalikes(self) -> None:
        """Scottish Gaelic is not a typing error for Gade."""
        with pytest.raises(UnknownLanguage) as caught:
            resolve_language("gd")

        assert caught.value.near == ()
        assert str(caught.value) == "Unknown language 'gd'."

    @given(st.text() | st.from_regex(r"\A[A-Za-z]{1,4}([-_][A-Za-z0-9]{0,9}){0,5}\Z"))
    def test_nothing_else_is_ever_raised(self, code: str) -> None:
        """Any string has an id, no language, or this one error for an answer."""
        with contextlib.suppress(UnknownLanguage):
            assert resolve_language(code) in {None, *IDS}


class TestBcp47:
    def test_undetermined_is_und(self) -> None:
        """`und` is the tag for a language that is not known."""
        assert to_bcp47(None) == "und"

    @pytest.mark.parametrize(
        ("language_id", "tag"),
        [
            ("bam_Latn", "bm"),
            ("swh_Latn", "sw"),
            ("cmn_Hans", "zh"),
            ("aae_Latn", "aae"),
        ],
    )
    def test_shortest_code_is_used(self, language_id: str, tag: str) -> None:
        """Clients know `bm`, few know `bam_Latn`."""
        assert to_bcp47(language_id) == tag


class TestSearching:
    @pytest.mark.parametrize("query", ["", "  "])
    def test_blank_query_finds_all(self, query: str) -> None:
        """No filter means the whole list, in its order."""
        assert search_languages(query) == all_languages()

    @pytest.mark.parametrize(
        ("query", "first"),
        [
            ("en", "eng_Latn"),
            ("ENG", "eng_Latn"),
            ("eng-latn", "eng_Latn"),
            ("zh", "cmn_Hans"),
            ("ZH_hant", "cmn_Hant"),
            ("English", "eng_Latn"),
            ("greek", "ell_Grek"),
            ("Uzbek", "uzb_Cyrl"),
            ("asháninka", "cni_Latn"),
            ("ashaninka", "cni_Latn"),
            ("kiche", "quc_Latn"),
            ("k'iche'", "quc_Latn"),
            ("konzel", "fkk_Latn"),
            ("mandarin", "cmn_Hans"),
            ("bengali", "ben_Beng"),  # CLDR's name is Bangla
            ("Kirghiz", "kir_Cyrl"),
            ("sursilv", "roh_Latn_surs1244"),
            ("arab", "arb_Arab"),  # many speak it; few Arabela
            ("chin", "cmn_Hans"),
        ],
    )
    def test_best_match_comes_first(self, query: str, first: str) -> None:
        """Codes and names are found without regard to case, accents, apostrophes."""
        assert search_languages(query)[0].id == first

    def test_script_code_finds_its_languages(self) -> None:
        """`cyrl` finds every language in Cyrillic."""
        found = {entry.id for entry in search_languages("cyrl")}

        assert found == {language_id for language_id in IDS if "_Cyrl" in language_id}

    def test_part_of_a_name_is_enough(self) -> None:
        """The middle of a word is found, after its beginning."""
        found = [entry.name for entry in search_languages("lish")]

        assert "English" in found
        assert "Polish" in found

    def test_nonsense_finds_nothing(self) -> None:
        """An empty answer is an answer."""
        assert search_languages("qqqqq") == ()

    @given(st.text(max_size=20))
    def test_any_query_is_answered(self, query: str) -> None:
        """No query fails, and no entry is found twice."""
        found = search_languages(query)

        assert len(found) == len(set(found))


class TestTextScript:
    @pytest.mark.parametrize(
        ("text", "script"),
        [
            ("Good morning, 3 times.", "Latn"),
            ("Доброе утро", "Cyrl"),
            ("नमस्ते दुनिया।", "Deva"),
            ("สวัสดีครับ", "Thai"),
            ("مرحبا بالعالم", "Arab"),
            ("שלום", "Hebr"),
            ("안녕하세요", "Hang"),
            ("你好\uff0c世界", "Hani"),
            ("今日は東京で話します", "Jpan"),
            ("コーヒー", "Jpan"),
            ("ありがとう", "Jpan"),
            ("ဟယ်လို", "Mymr"),
            ("ᏣᎳᎩ", "Zzzz"),
            ("我要去買東西然後去の店看看有沒有新的衣服", "Hani"),
            ("I said привет to them", "Latn"),
            ("e\u0301te\u0301", "Latn"),
        ],
    )
    def test_is_the_script_of_most_letters(self, text: str, script: str) -> None:
        """Other scripts, marks, digits and punctuation do not change the answer."""
        assert main_script(text)[0] == script

    @pytest.mark.parametrize("text", ["", "   ", "123 — 45 %!", "🙂", "abc где"])
    def test_is_none_without_a_majority(self, text: str) -> None:
        """Without letters, or with half in each of two scripts, there is no script."""
        assert main_script(text)[0] is None

    def test_looks_at_a_bounded_part_of_the_text(self) -> None:
        """A transcript of hours costs no more than one of minutes."""
        text = "я" * SCRIPT_SAMPLE + "a" * 10 * SCRIPT_SAMPLE

        assert main_script(text)[0] == "Cyrl"

    @given(st.text())
    def test_any_text_is_answered(self, text: str) -> None:
        """No text fails."""
        script = main_script(text)[0]

        assert script is None or len(script) == 4
