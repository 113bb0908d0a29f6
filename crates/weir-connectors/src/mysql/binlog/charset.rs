//! Character sets of the servers → UTF-8. What has no exact counterpart is an error, never a question mark.
//!
//! The tables of one-byte sets are what MySQL 8.0 and MariaDB 10.11 convert to (they agree). A test asks both servers again, for every character
//! of every set.

use std::borrow::Cow;
use std::sync::Arc;

use encoding_rs::Encoding;

/// How text of a column becomes UTF-8.
#[derive(Debug, Clone)]
pub(super) enum Charset {
    /// It is no text.
    Binary,
    /// It is UTF-8 (or ASCII) already.
    Utf8,
    /// One byte is one character; those from 128 on are in the table, U+FFFD where the set has none.
    Single(Arc<[char]>),
    /// ASCII with letters in the place of ten signs.
    Swedish,
    /// UCS-2 and UTF-16, high byte first.
    Utf16,
    /// UTF-16, low byte first.
    Utf16Le,
    /// UTF-32, high byte first.
    Utf32,
    /// Characters of one to four bytes, and the set's name.
    Multi(&'static str, &'static Encoding),
}

/// The character set of a collation, by the numbers that both families share.
pub(super) fn name_of_collation(id: u32) -> Option<&'static str> {
    Some(match id {
        // The collations of MariaDB that do not pad.
        1024..2048 => return name_of_collation(id - 1024),
        // Its collations of Unicode 14: a block for each set.
        2048..2304 => "utf8mb3",
        2304..2560 => "utf8mb4",
        2560..2816 => "ucs2",
        2816..3072 => "utf16",
        3072..3328 => "utf32",
        1 | 84 => "big5",
        2 | 9 | 21 | 27 | 77 => "latin2",
        3 | 69 => "dec8",
        4 | 80 => "cp850",
        5 | 8 | 15 | 31 | 47..=49 | 94 => "latin1",
        6 | 72 => "hp8",
        7 | 74 => "koi8r",
        10 | 82 => "swe7",
        11 | 65 => "ascii",
        12 | 91 => "ujis",
        13 | 88 => "sjis",
        14 | 23 | 50..=52 => "cp1251",
        16 | 71 => "hebrew",
        18 | 89 => "tis620",
        19 | 85 => "euckr",
        20 | 41 | 42 | 79 => "latin7",
        22 | 75 => "koi8u",
        24 | 86 => "gb2312",
        25 | 70 => "greek",
        26 | 34 | 44 | 66 | 99 => "cp1250",
        28 | 87 => "gbk",
        29 | 58 | 59 => "cp1257",
        30 | 78 => "latin5",
        32 | 64 => "armscii8",
        33 | 76 | 83 | 192..=223 | 576..=607 => "utf8mb3",
        35 | 90 | 128..=159 | 640..=671 => "ucs2",
        36 | 68 => "cp866",
        37 | 73 => "keybcs2",
        38 | 43 => "macce",
        39 | 53 => "macroman",
        40 | 81 => "cp852",
        45 | 46 | 224..=247 | 255..=511 | 608..=639 => "utf8mb4",
        54 | 55 | 101..=124 | 672..=703 => "utf16",
        56 | 62 => "utf16le",
        57 | 67 => "cp1256",
        60 | 61 | 160..=191 | 736..=767 => "utf32",
        63 => "binary",
        92 | 93 => "geostd8",
        95 | 96 => "cp932",
        97 | 98 => "eucjpms",
        248..=250 => "gb18030",
        _ => return None,
    })
}

impl Charset {
    /// By the server's name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "binary" => Self::Binary,
            "utf8mb4" | "utf8mb3" | "utf8" | "ascii" => Self::Utf8,
            "ucs2" | "utf16" => Self::Utf16,
            "utf16le" => Self::Utf16Le,
            "swe7" => Self::Swedish,
            "utf32" => Self::Utf32,
            "gbk" => Self::Multi("gbk", encoding_rs::GBK),
            "gb2312" => Self::Multi("gb2312", encoding_rs::GBK),
            "gb18030" => Self::Multi("gb18030", encoding_rs::GB18030),
            "big5" => Self::Multi("big5", encoding_rs::BIG5),
            "euckr" => Self::Multi("euckr", encoding_rs::EUC_KR),
            "sjis" => Self::Multi("sjis", encoding_rs::SHIFT_JIS),
            "cp932" => Self::Multi("cp932", encoding_rs::SHIFT_JIS),
            "ujis" => Self::Multi("ujis", encoding_rs::EUC_JP),
            "eucjpms" => Self::Multi("eucjpms", encoding_rs::EUC_JP),
            _ => Self::Single(SINGLE.iter().find(|(known, _)| *known == name)?.1.chars().collect()),
        })
    }

    /// The text in UTF-8; `None` if a character of it has no exact counterpart. UTF-8 is handed through as it is, valid or not.
    pub(super) fn decode<'a>(&self, bytes: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let owned = match self {
            Self::Binary | Self::Utf8 => return Some(bytes.into()),
            Self::Single(_) | Self::Multi(..) if bytes.is_ascii() => return Some(bytes.into()),
            Self::Single(table) => {
                let mut text = String::with_capacity(bytes.len() * 2);
                for byte in bytes {
                    text.push(match byte.checked_sub(128) {
                        None => char::from(*byte),
                        Some(at) => *table.get(usize::from(at)).filter(|found| **found != char::REPLACEMENT_CHARACTER)?,
                    });
                }
                text
            }
            Self::Swedish => {
                const SIGNS: &[u8; 10] = b"@[\\]^`{|}~";
                const LETTERS: [char; 10] = ['É', 'Ä', 'Ö', 'Å', 'Ü', 'é', 'ä', 'ö', 'å', 'ü'];
                let letter = |byte: &u8| match SIGNS.iter().position(|sign| sign == byte) {
                    Some(at) => LETTERS.get(at).copied(),
                    None => (*byte < 0x7f).then_some(char::from(*byte)),
                };
                bytes.iter().map(letter).collect::<Option<String>>()?
            }
            Self::Utf16 => units(bytes, u16::from_be_bytes)?,
            Self::Utf16Le => units(bytes, u16::from_le_bytes)?,
            Self::Utf32 => {
                let (characters, []) = bytes.as_chunks::<4>() else { return None };
                characters.iter().map(|unit| char::from_u32(u32::from_be_bytes(*unit))).collect::<Option<String>>()?
            }
            Self::Multi(name, encoding) => several(name, encoding, bytes)?,
        };
        Some(owned.into_bytes().into())
    }
}

fn units(bytes: &[u8], of: fn([u8; 2]) -> u16) -> Option<String> {
    let (units, []) = bytes.as_chunks::<2>() else { return None };
    char::decode_utf16(units.iter().map(|unit| of(*unit))).collect::<Result<String, _>>().ok()
}

/// Text of a set of several bytes: by the web's standard, except where the servers convert otherwise.
fn several(set: &str, encoding: &'static Encoding, bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len() * 2);
    let (mut plain, mut at) = (0, 0);
    while let Some(left) = bytes.get(at..).filter(|left| !left.is_empty()) {
        let size = size(set, left);
        let code = left.get(..size)?.iter().fold(0, |code, byte| code << 8 | u32::from(*byte));
        if size > 1
            && let Some(theirs) = exception(set, code)
        {
            text.push_str(&encoding.decode_without_bom_handling_and_without_replacement(&bytes[plain..at])?);
            text.push(theirs?);
            plain = at + size;
        }
        at += size;
    }
    text.push_str(&encoding.decode_without_bom_handling_and_without_replacement(&bytes[plain..])?);
    // What has no character of its own has a private one in the standard, and none at the servers.
    let private = matches!(set, "gbk" | "gb2312") && text.chars().any(|character| ('\u{e000}'..='\u{f8ff}').contains(&character));
    (!private).then_some(text)
}

/// Bytes of the character that begins here.
fn size(set: &str, left: &[u8]) -> usize {
    match (set, left) {
        (_, [0..=0x7f, ..] | []) => 1,
        ("sjis" | "cp932", [0x80 | 0xa0..=0xdf, ..]) => 1,
        ("ujis" | "eucjpms", [0x8f, ..]) => 3,
        ("gb18030", [_, 0x30..=0x39, ..]) => 4,
        _ => 2,
    }
}

/// Codes that the servers convert otherwise than the web's standard: to what, or not at all.
fn exception(set: &str, code: u32) -> Option<Option<char>> {
    let theirs = match (set, code) {
        ("gb2312", 0xa1a4) => '・',
        ("gb2312", 0xa1aa) => '―',
        ("sjis", 0x815f) | ("ujis", 0xa1c0) => '\\',
        ("sjis", 0x8160) | ("ujis", 0xa1c1) => '〜',
        ("sjis", 0x8161) | ("ujis", 0xa1c2) => '‖',
        ("sjis", 0x817c) | ("ujis", 0xa1dd) => '−',
        ("sjis", 0x8191) | ("ujis", 0xa1f1) | ("big5", 0xa246) => '¢',
        ("sjis", 0x8192) | ("ujis", 0xa1f2) | ("big5", 0xa247) => '£',
        ("sjis", 0x81ca) | ("ujis", 0xa2cc) => '¬',
        ("big5", 0xa145) => '•',
        ("big5", 0xa14e) => '､',
        ("big5", 0xa1c2) => '‾',
        ("big5", 0xa1e3) => '∼',
        ("big5", 0xa1f2) => '♁',
        ("big5", 0xa1f3) => '☉',
        ("big5", 0xa241) => '／',
        ("big5", 0xa242) => '＼',
        ("big5", 0xa244) => '¥',
        (
            "gbk",
            0xa2e3 | 0xa3a0 | 0xa6d9..=0xa6df | 0xa6ec | 0xa6ed | 0xa6f3 | 0xa8bc | 0xa8bf | 0xa989..=0xa995 | 0xfe50..=0xfea0,
        )
        | ("gb2312", 0xa2a1..=0xa2aa | 0xa2e3 | 0xa6b9..=0xa6c0 | 0xa6d9..=0xa6fe | 0xa8bb..=0xa8c0)
        | ("gb18030", 0xa3a0 | 0xa6d9..=0xa6df | 0xa6ec | 0xa6ed | 0xa6f3)
        | ("gb18030", 0xfe59 | 0xfe61 | 0xfe66 | 0xfe67 | 0xfe6d | 0xfe7e | 0xfe90 | 0xfea0)
        | (
            "big5",
            0xa15a | 0xa1c3 | 0xa1c5 | 0xa1fe | 0xa240 | 0xa2cc | 0xa2ce | 0xa3c0..=0xa3e1 | 0xc6a1..=0xc8fe | 0xf9dd..=0xf9fe,
        )
        | ("sjis", 0x8740..=0x879c | 0xed40..=0xeefc | 0xf040..=0xfcfc)
        | ("ujis", 0xada1..=0xadfc | 0x8f_a2b7)
        | ("eucjpms", 0x8f_a2c3)
        | ("ujis" | "eucjpms", 0xf5a1..=0xfefe) => return Some(None),
        _ => return None,
    };
    Some(Some(theirs))
}

/// Characters 128 to 255 of every set of one byte.
const SINGLE: &[(&str, &str)] = &[
    (
        "armscii8",
        "\u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\u{8f}\u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\u{9e}\u{9f}\u{a0}❁§։)(»«—.՝,-՟…՜՛՞ԱաԲբԳգԴդԵեԶզԷէԸըԹթԺժԻիԼլԽխԾծԿկՀհՁձՂղՃճՄմՅյՆնՇշՈոՉչՊպՋջՌռՍսՎվՏտՐրՑցՒւՓփՔքՕօՖֆ’'",
    ),
    (
        "cp1250",
        "€\u{fffd}‚\u{fffd}„…†‡\u{fffd}‰Š‹ŚŤŽŹ\u{fffd}‘’“”•–—\u{fffd}™š›śťžź\u{a0}ˇ˘Ł¤Ą¦§¨©Ş«¬\u{ad}®Ż°±˛ł´µ¶·¸ąş»Ľ˝ľżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
    ),
    (
        "cp1251",
        "ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–—\u{fffd}™љ›њќћџ\u{a0}ЎўЈ¤Ґ¦§Ё©Є«¬\u{ad}®Ї°±Ііґµ¶·ё№є»јЅѕїАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя",
    ),
    (
        "cp1256",
        "€\u{67e}‚ƒ„…†‡ˆ‰\u{fffd}‹Œ\u{686}\u{698}\u{fffd}\u{6af}‘’“”•–—\u{fffd}™\u{fffd}›œ\u{200c}\u{200d}\u{fffd}\u{a0}،¢£¤¥¦§¨©\u{fffd}«¬\u{ad}®¯°±²³´µ¶·¸¹\u{61b}»¼½¾\u{61f}\u{fffd}\u{621}\u{622}\u{623}\u{624}\u{625}\u{626}\u{627}\u{628}\u{629}\u{62a}\u{62b}\u{62c}\u{62d}\u{62e}\u{62f}\u{630}\u{631}\u{632}\u{633}\u{634}\u{635}\u{636}×\u{637}\u{638}\u{639}\u{63a}\u{640}\u{641}\u{642}\u{643}à\u{644}â\u{645}\u{646}\u{647}\u{648}çèéêë\u{649}\u{64a}îï\u{64b}\u{64c}\u{64d}\u{64e}ô\u{64f}\u{650}÷\u{651}ù\u{652}ûü\u{200e}\u{200f}\u{fffd}",
    ),
    (
        "cp1257",
        "€\u{fffd}‚\u{fffd}„…†‡\u{fffd}‰\u{fffd}‹\u{fffd}¨ˇ¸\u{fffd}‘’“”•–—\u{fffd}™\u{fffd}›\u{fffd}¯˛\u{fffd}\u{a0}\u{fffd}¢£¤\u{fffd}¦§Ø©Ŗ«¬\u{ad}®Æ°±²³´µ¶·ø¹ŗ»¼½¾æĄĮĀĆÄÅĘĒČÉŹĖĢĶĪĻŠŃŅÓŌÕÖ×ŲŁŚŪÜŻŽßąįāćäåęēčéźėģķīļšńņóōõö÷ųłśūüżž˙",
    ),
    (
        "cp850",
        "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐└┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u{ad}±‗¾¶§÷¸°¨·¹³²■\u{a0}",
    ),
    (
        "cp852",
        "ÇüéâäůćçłëŐőîŹÄĆÉĹĺôöĽľŚśÖÜŤťŁ×čáíóúĄąŽžĘę¬źČş«»░▒▓│┤ÁÂĚŞ╣║╗╝Żż┐└┴┬├─┼Ăă╚╔╩╦╠═╬¤đĐĎËďŇÍÎě┘┌█▄ŢŮ▀ÓßÔŃńňŠšŔÚŕŰýÝţ´\u{ad}˝˛ˇ˘§÷¸°¨˙űŘř■\u{a0}",
    ),
    (
        "cp866",
        "АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмноп░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀рстуфхцчшщъыьэюяЁёЄєЇїЎў°∙·√ⁿ²■\u{a0}",
    ),
    (
        "dec8",
        "\u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\u{8f}\u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\u{9e}\u{9f}\u{a0}¡¢£\u{fffd}¥\u{fffd}§¤©ª«\u{fffd}\u{fffd}\u{fffd}\u{fffd}°±²³\u{fffd}µ¶·\u{fffd}¹º»¼½\u{fffd}¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏ\u{fffd}ÑÒÓÔÕÖŒØÙÚÛÜŸ\u{fffd}ßàáâãäåæçèéêëìíîï\u{fffd}ñòóôõöœøùúûüÿ\u{fffd}\u{fffd}",
    ),
    (
        "geostd8",
        "€\u{fffd}‚\u{fffd}„…†‡\u{fffd}‰\u{fffd}‹\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}‘’“”•–—\u{fffd}\u{fffd}\u{fffd}›\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿აბგდევზჱთიკლმნჲოპჟრსტჳუფქღყშჩცძწჭხჴჯჰჵ\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}№\u{fffd}\u{fffd}",
    ),
    (
        "greek",
        "\u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\u{8f}\u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\u{9e}\u{9f}\u{a0}ʽʼ£\u{fffd}\u{fffd}¦§¨©\u{fffd}«¬\u{ad}\u{fffd}―°±²³΄΅Ά·ΈΉΊ»Ό½ΎΏΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡ\u{fffd}ΣΤΥΦΧΨΩΪΫάέήίΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώ\u{fffd}",
    ),
    (
        "hebrew",
        "\u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\u{8f}\u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\u{9e}\u{9f}\u{a0}\u{fffd}¢£¤¥¦§¨©×«¬\u{ad}®‾°±²³´µ¶·¸¹÷»¼½¾\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}‗\u{5d0}\u{5d1}\u{5d2}\u{5d3}\u{5d4}\u{5d5}\u{5d6}\u{5d7}\u{5d8}\u{5d9}\u{5da}\u{5db}\u{5dc}\u{5dd}\u{5de}\u{5df}\u{5e0}\u{5e1}\u{5e2}\u{5e3}\u{5e4}\u{5e5}\u{5e6}\u{5e7}\u{5e8}\u{5e9}\u{5ea}\u{fffd}\u{fffd}\u{200e}\u{200f}\u{fffd}",
    ),
    (
        "hp8",
        "\u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\u{8f}\u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\u{9e}\u{9f}\u{a0}ÀÂÈÊËÎÏ´ˋˆ¨˜ÙÛ₤¯Ýý°ÇçÑñ¡¿¤£¥§ƒ¢âêôûáéóúàèòùäëöüÅîØÆåíøæÄìÖÜÉïßÔÁÃãÐðÍÌÓÒÕõŠšÚŸÿÞþ·µ¶¾—¼½ªº«■»±\u{fffd}",
    ),
    (
        "keybcs2",
        "ČüéďäĎŤčěĚĹÍľĺÄÁÉžŽôöÓůÚýÖÜŠĽÝŘťáíóúňŇŮÔšřŕŔ¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}",
    ),
    (
        "koi8r",
        "─│┌┐└┘├┤┬┴┼▀▄█▌▐░▒▓⌠■∙√≈≤≥\u{a0}⌡°²·÷═║╒ё╓╔╕╖╗╘╙╚╛╜╝╞╟╠╡Ё╢╣╤╥╦╧╨╩╪╫╬©юабцдефгхийклмнопярстужвьызшэщчъЮАБЦДЕФГХИЙКЛМНОПЯРСТУЖВЬЫЗШЭЩЧЪ",
    ),
    (
        "koi8u",
        "─│┌┐└┘├┤┬┴┼▀▄█▌▐░▒▓⌠■•√≈≤≥\u{a0}⌡°²·÷═║╒ёє╔ії╗╘╙╚╛ґ╝╞╟╠╡ЁЄ╣ІЇ╦╧╨╩╪Ґ╬©юабцдефгхийклмнопярстужвьызшэщчъЮАБЦДЕФГХИЙКЛМНОПЯРСТУЖВЬЫЗШЭЩЧЪ",
    ),
    (
        "latin1",
        "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ\u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ",
    ),
    (
        "latin2",
        "\u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\u{8f}\u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\u{9e}\u{9f}\u{a0}Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\u{ad}ŽŻ°ą˛ł´ľśˇ¸šşťź˝žżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
    ),
    (
        "latin5",
        "\u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\u{8f}\u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\u{9e}\u{9f}\u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞÑÒÓÔÕÖ×ØÙÚÛÜİŞßàáâãäåæçèéêëìíîïğñòóôõö÷øùúûüışÿ",
    ),
    (
        "latin7",
        "\u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\u{8f}\u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\u{9e}\u{9f}\u{a0}”¢£¤„¦§Ø©Ŗ«¬\u{ad}®Æ°±²³“µ¶·ø¹ŗ»¼½¾æĄĮĀĆÄÅĘĒČÉŹĖĢĶĪĻŠŃŅÓŌÕÖ×ŲŁŚŪÜŻŽßąįāćäåęēčéźėģķīļšńņóōõö÷ųłśūüżž’",
    ),
    (
        "macce",
        "ÄĀāÉĄÖÜáąČäčĆćéŹźĎíďĒēĖóėôöõúĚěü†°Ę£§•¶ß®©™ę¨≠ģĮįĪ≤≥īĶ∂∑łĻļĽľĹĺŅņŃ¬√ńŇ∆«»…\u{a0}ňŐÕőŌ–—“”‘’÷◊ōŔŕŘ‹›řŖŗŠ‚„šŚśÁŤťÍŽžŪÓÔūŮÚůŰűŲųÝýķŻŁżĢˇ",
    ),
    (
        "macroman",
        "ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø¿¡¬√ƒ≈∆«»…\u{a0}ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\u{f8ff}ÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ",
    ),
    (
        "tis620",
        "\u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\u{8f}\u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\u{9e}\u{9f}\u{fffd}กขฃคฅฆงจฉชซฌญฎฏฐฑฒณดตถทธนบปผฝพฟภมยรฤลฦวศษสหฬอฮฯะ\u{e31}าำ\u{e34}\u{e35}\u{e36}\u{e37}\u{e38}\u{e39}\u{e3a}\u{fffd}\u{fffd}\u{fffd}\u{fffd}฿เแโใไๅๆ\u{e47}\u{e48}\u{e49}\u{e4a}\u{e4b}\u{e4c}\u{e4d}\u{e4e}๏๐๑๒๓๔๕๖๗๘๙๚๛\u{fffd}\u{fffd}\u{fffd}\u{fffd}",
    ),
];
