//! The language of a text, from its script and, for Latin and Cyrillic letters, from its small words and the letters that only some
//! languages have.
//!
//! Each known word counts for the languages that have it, the less the more of them there are. The language with the most
//! points is it; the confidence is how far it is ahead, and how much of the text is known at all.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A language (ISO 639-3) with its small words and its own letters.
struct Known {
    code: &'static str,
    words: &'static str,
    letters: &'static str,
}

const LATIN: &[Known] = &[
    Known {
        code: "eng",
        words: "the of and to in is was it that for on with as are be this have from not by at or an were which you his her they has \
                had been their will would there what when who she he we my i your can could after about but one all so if out up no do does",
        letters: "",
    },
    Known {
        code: "deu",
        words: "der die das und ist nicht ein eine einen einem einer zu den mit von für auf sich dem des im auch als an es sie er wir ich \
                nach bei aus wie noch nur oder aber wenn sind war wird werden hat haben kann mein meine sehr über durch um am keine",
        letters: "ßäöü",
    },
    Known {
        code: "fra",
        words: "le la les de des du et est un une en que qui pour dans ce cette il elle nous vous je ne pas sur avec au aux par plus \
                sont ont être avoir fait mais ou où son sa ses leur tout très bien comme mon ma mes d l c qu n j s",
        letters: "àâçèéêëîïôùûœ",
    },
    Known {
        code: "spa",
        words: "el la los las de del y es un una en que por para con no se su sus lo al como más pero muy este esta son fue ha han \
                hay ser está todo también cuando donde sin sobre entre desde mi me te le ya o yo porque",
        letters: "ñáéíóú¿¡",
    },
    Known {
        code: "ita",
        words: "il lo la i gli le di del della dei delle e è un una in che per con non si su sono al alla nel nella come più ma \
                questo questa da dal anche ha hanno essere stato molto dove quando ci mi ti suo sua o ho era",
        letters: "àèéìòù",
    },
    Known {
        code: "por",
        words: "o a os as de do da dos das e é um uma em no na que por para com não se seu sua ao mais como mas foi são está ser tem \
                muito também quando onde sem sobre entre eu ele ela nós isso este esta pelo pela já",
        letters: "ãõáâàçéêíóôú",
    },
    Known {
        code: "nld",
        words: "de het een en van is in dat op te zijn met voor niet aan er ook als maar om hij ze wij ik je bij door uit naar over \
                dan nog wel geen werd was heeft hebben kan worden wordt deze dit mijn die zeer",
        letters: "ĳ",
    },
    Known {
        code: "swe",
        words: "och att det är en ett som på av för med den till inte har jag han hon vi de om var från men så kan ska sin min där när \
                eller mycket efter också alla under mot",
        letters: "åäö",
    },
    Known {
        code: "dan",
        words: "og at det er en et som på af for med den til ikke har jeg han hun vi de om var fra men så kan skal sin min der når \
                eller meget efter også alle under blev",
        letters: "åæø",
    },
    Known {
        code: "pol",
        words: "i w na z do nie się to jest że o jak po za od przez dla ale czy był była są tak już tylko może który która oraz \
                bardzo przy jego jej ich mnie",
        letters: "ąćęłńóśźż",
    },
    Known {
        code: "ces",
        words: "a v na se je to že s z do o i jak po za od pro ale by byl byla jsou tak už jen může který která nebo také při jeho \
                její jsem není velmi",
        letters: "ěščřžýáíéůúňťď",
    },
    Known {
        code: "tur",
        words: "ve bir bu da de için ile çok ne o gibi daha var olarak ben sen biz ama en kadar sonra değil olan her mi ki yok \
                oldu ise",
        letters: "ğışçöü",
    },
    Known {
        code: "fin",
        words: "ja on ei se että oli hän ovat ole mutta niin kuin myös joka tämä sen kun tai minä sinä me te he olla olen vain \
                nyt jos mitä hyvin",
        letters: "äö",
    },
    Known {
        code: "ron",
        words: "și de la în a cu nu pe este un o să că din pentru mai sunt care ce au fost se le al ale dar sau foarte după când \
                acest această",
        letters: "ășțîâ",
    },
];

const CYRILLIC: &[Known] = &[
    Known {
        code: "rus",
        words: "и в не на я что он с это по как но из у за от так же для бы мы она они вы был была быть его её уже только очень \
                когда если меня все",
        letters: "ыэъё",
    },
    Known {
        code: "ukr",
        words: "і в не на я що він з це по як але із у за від так же для ми вона вони ви був була бути його її вже тільки дуже коли \
                якщо мене та й",
        letters: "іїєґ",
    },
    Known {
        code: "bul",
        words: "и в не на да се е с за от че това по как но като са си ще той тя те беше много към до при ли или",
        letters: "",
    },
];

/// Word → the languages that have it.
type Words = HashMap<&'static str, Vec<usize>>;

static LATIN_WORDS: LazyLock<Words> = LazyLock::new(|| index(LATIN));
static CYRILLIC_WORDS: LazyLock<Words> = LazyLock::new(|| index(CYRILLIC));

fn index(languages: &'static [Known]) -> Words {
    let mut words: Words = HashMap::new();
    for (at, language) in languages.iter().enumerate() {
        language.words.split_whitespace().for_each(|word| words.entry(word).or_default().push(at));
    }
    words
}

/// The code of the language and a confidence from 0 to 1; `None` if nothing in the text tells.
pub(super) fn detect(text: &str) -> Option<(&'static str, f64)> {
    let mut scripts: HashMap<&'static str, usize> = HashMap::new();
    text.chars().filter_map(script).for_each(|script| *scripts.entry(script).or_default() += 1);
    let letters: usize = scripts.values().sum();
    // Japanese is written in several scripts, and only Japanese in kana.
    if scripts.get("jpn").is_some_and(|kana| *kana * 10 > letters) {
        return Some(("jpn", 1.0));
    }
    let (script, most) = scripts.into_iter().max_by_key(|(script, count)| (*count, *script))?;
    let share = most as f64 / letters as f64;
    match script {
        "latin" => by_words(text, LATIN, &LATIN_WORDS).map(|(code, sure)| (code, sure * share)),
        "cyrillic" => by_words(text, CYRILLIC, &CYRILLIC_WORDS).map(|(code, sure)| (code, sure * share)),
        code => Some((code, share)),
    }
}

/// The language that a letter's script stands for, or the script where several languages share it.
fn script(letter: char) -> Option<&'static str> {
    Some(match u32::from(letter) {
        0x41..=0x5a | 0x61..=0x7a | 0xc0..=0x24f => "latin",
        0x370..=0x3ff => "ell",
        0x400..=0x52f => "cyrillic",
        0x530..=0x58f => "hye",
        0x590..=0x5ff => "heb",
        0x600..=0x6ff => "ara",
        0x900..=0x97f => "hin",
        0xe00..=0xe7f => "tha",
        0x10a0..=0x10ff => "kat",
        0x1100..=0x11ff | 0xac00..=0xd7af => "kor",
        0x3040..=0x30ff => "jpn",
        0x4e00..=0x9fff => "cmn",
        _ => return None,
    })
}

fn by_words(text: &str, languages: &'static [Known], known: &Words) -> Option<(&'static str, f64)> {
    /// How many words a text must have before its share of known ones counts fully.
    const ENOUGH: f64 = 4.0;
    let lower = text.to_lowercase();
    let mut points = vec![0.0; languages.len()];
    let mut words = 0.0;
    for word in lower.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
        words += 1.0;
        if let Some(found) = known.get(word) {
            found.iter().for_each(|&at| points[at] += 1.0 / found.len() as f64);
        }
        let own: Vec<usize> =
            (0..languages.len()).filter(|&at| word.chars().any(|letter| languages[at].letters.contains(letter))).collect();
        own.iter().for_each(|&at| points[at] += 0.5 / own.len() as f64);
    }
    let mut order: Vec<usize> = (0..languages.len()).collect();
    order.sort_by(|one, other| points[*other].total_cmp(&points[*one]));
    let (first, second) = (points[*order.first()?], order.get(1).map_or(0.0, |at| points[*at]));
    if first <= 0.0 {
        return None;
    }
    let ahead = (first - second) / first;
    // A third of a plain text are small words.
    let told = (3.0 * first / f64::max(words, ENOUGH)).min(1.0);
    Some((languages[order[0]].code, ahead * told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_told_apart() {
        for (text, code) in [
            ("All human beings are born free and equal in dignity and rights.", "eng"),
            ("Alle Menschen sind frei und gleich an Würde und Rechten geboren.", "deu"),
            ("Tous les êtres humains naissent libres et égaux en dignité et en droits.", "fra"),
            ("Todos los seres humanos nacen libres e iguales en dignidad y derechos.", "spa"),
            ("Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti.", "ita"),
            ("Todos os seres humanos nascem livres e iguais em dignidade e em direitos.", "por"),
            ("Alle mensen worden vrij en gelijk in waardigheid en rechten geboren.", "nld"),
            ("Alla människor är födda fria och lika i värde och rättigheter.", "swe"),
            ("Alle mennesker er født frie og lige i værdighed og rettigheder.", "dan"),
            ("Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.", "pol"),
            ("Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv.", "ces"),
            ("Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar.", "tur"),
            ("Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan.", "fin"),
            ("Toate ființele umane se nasc libere și egale în demnitate și în drepturi.", "ron"),
            ("Все люди рождаются свободными и равными в своём достоинстве и правах.", "rus"),
            ("Всі люди народжуються вільними і рівними у своїй гідності та правах.", "ukr"),
            ("Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι.", "ell"),
            ("人人生而自由，在尊严和权利上一律平等。", "cmn"),
            ("すべての人間は、生まれながらにして自由である。", "jpn"),
            ("모든 인간은 태어날 때부터 자유로우며", "kor"),
            ("يولد جميع الناس أحرارا متساوين في الكرامة والحقوق", "ara"),
        ] {
            assert_eq!(detect(text).map(|found| found.0), Some(code), "{text}: {:?}", detect(text));
        }
    }

    #[test]
    fn what_tells_nothing_is_no_language_and_little_is_not_sure() {
        for text in ["", "12345 !!", "qwrtz xkcd"] {
            assert_eq!(detect(text), None, "{text}");
        }
        let (_, short) = detect("the phone").unwrap();
        let (_, long) = detect("It is not the phone that was in the box, and they will not take it back from us.").unwrap();
        assert!(short < long && long <= 1.0, "{short} {long}");
    }
}
