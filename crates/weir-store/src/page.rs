//! Pages of listings by key, not by number: rows that come or go meanwhile neither repeat nor hide others.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use weir_error::{Error, Kind, Result};

use crate::backend::{Columns, Row, Value};
use crate::model::{Page, PageRequest};

/// The most rows of a page.
const MOST: u32 = 500;

/// Where the page before ended: the sort key and the id of its last row.
pub(crate) type Key = (i64, String);

/// What a listing is ordered by, as SQL.
pub(crate) enum SortKey {
    /// A number; the id comes after it.
    Number(Cow<'static, str>),
    /// A text that ends with the id.
    Text(Cow<'static, str>),
}

impl SortKey {
    pub(crate) fn number(sql: &'static str) -> Self {
        Self::Number(Cow::Borrowed(sql))
    }

    pub(crate) fn text(sql: &'static str) -> Self {
        Self::Text(Cow::Borrowed(sql))
    }

    pub(crate) fn sql(&self) -> &str {
        match self {
            Self::Number(sql) | Self::Text(sql) => sql,
        }
    }

    /// The key of a row whose columns are read up to it.
    pub(crate) fn of(&self, columns: &mut Columns<'_>, id: &str) -> Result<Key> {
        Ok(match self {
            Self::Number(_) => (columns.int()?, id.to_owned()),
            Self::Text(_) => (0, columns.text()?),
        })
    }
}

/// The page asked for, of one listing.
pub(crate) struct Asked {
    listing: &'static str,
    limit: usize,
    after: Option<Key>,
}

impl Asked {
    /// Reads the request; `listing` tells the cursors of different listings apart.
    pub(crate) fn of(listing: &'static str, page: &PageRequest) -> Result<Self> {
        if page.limit == 0 || page.limit > MOST {
            return Err(Error::new("WEIR-STORE-010", Kind::Spec, format!("a page has 1 to {MOST} rows, not {}", page.limit)));
        }
        let after = page.cursor.as_deref().map(|cursor| parse(listing, cursor)).transpose()?;
        Ok(Self { listing, limit: page.limit as usize, after })
    }

    /// The end of a query: `AND (key, id) < (…) ORDER BY key DESC, id DESC LIMIT …`; its parameters are appended.
    pub(crate) fn newest_first(&self, key: &str, id: &str, values: &mut Vec<Value>) -> String {
        self.tail(key, id, "<", " DESC", values)
    }

    /// The same, oldest first.
    pub(crate) fn oldest_first(&self, key: &str, id: &str, values: &mut Vec<Value>) -> String {
        self.tail(key, id, ">", "", values)
    }

    /// The same for a listing that is ordered by a number which is unique in it, newest first.
    pub(crate) fn newest_number_first(&self, key: &str, values: &mut Vec<Value>) -> String {
        let mut sql = String::new();
        if let Some((at, _)) = &self.after {
            values.push(Value::from(*at));
            sql = format!(" AND {key} < ${}", values.len());
        }
        values.push(Value::from(self.limit as i64 + 1));
        sql + &format!(" ORDER BY {key} DESC LIMIT ${}", values.len())
    }

    /// The same for a listing by a name that is unique in it; its key is `(0, name)`.
    pub(crate) fn by_name(&self, name: &str, values: &mut Vec<Value>) -> String {
        let mut sql = String::new();
        if let Some((_, last)) = &self.after {
            values.push(Value::from(last));
            sql = format!(" AND {name} > ${}", values.len());
        }
        values.push(Value::from(self.limit as i64 + 1));
        sql + &format!(" ORDER BY {name} LIMIT ${}", values.len())
    }

    /// The same for a listing in an order that was asked for. Of a number the id breaks ties; a text is unique, its key is `(0, text)`.
    pub(crate) fn sorted(&self, key: &SortKey, id: &str, descending: bool, values: &mut Vec<Value>) -> String {
        match (key, descending) {
            (SortKey::Number(key), true) => self.newest_first(key, id, values),
            (SortKey::Number(key), false) => self.oldest_first(key, id, values),
            (SortKey::Text(key), descending) => self.by_text(key, descending, values),
        }
    }

    /// The same for a listing by a text that is unique in it; its key is `(0, text)`.
    fn by_text(&self, text: &str, descending: bool, values: &mut Vec<Value>) -> String {
        let (sign, order) = if descending { ("<", " DESC") } else { (">", "") };
        let mut sql = String::new();
        if let Some((_, last)) = &self.after {
            values.push(Value::from(last));
            sql = format!(" AND {text} {sign} ${}", values.len());
        }
        values.push(Value::from(self.limit as i64 + 1));
        sql + &format!(" ORDER BY {text}{order} LIMIT ${}", values.len())
    }

    fn tail(&self, key: &str, id: &str, sign: &str, order: &str, values: &mut Vec<Value>) -> String {
        let mut sql = String::new();
        if let Some((at, last)) = &self.after {
            values.push(Value::from(*at));
            values.push(Value::from(last));
            sql = format!(" AND ({key}, {id}) {sign} (${}, ${})", values.len() - 1, values.len());
        }
        // One more than asked for tells whether there is a next page.
        values.push(Value::from(self.limit as i64 + 1));
        sql + &format!(" ORDER BY {key}{order}, {id}{order} LIMIT ${}", values.len())
    }

    /// Turns the rows into the page; `read` also says the row's key.
    pub(crate) fn page<T>(self, rows: &[Row], read: impl Fn(&Row) -> Result<(T, Key)>) -> Result<Page<T>> {
        let mut items = Vec::with_capacity(rows.len().min(self.limit));
        let mut last = None;
        for row in rows.iter().take(self.limit) {
            let (item, key) = read(row)?;
            items.push(item);
            last = Some(key);
        }
        let next_cursor = last
            .filter(|_| rows.len() > self.limit)
            .map(|(at, id)| URL_SAFE_NO_PAD.encode(format!("{}\n{at}\n{id}", self.listing)));
        Ok(Page { items, next_cursor })
    }
}

fn parse(listing: &str, cursor: &str) -> Result<Key> {
    let read = || -> Option<Key> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let (tag, rest) = text.split_once('\n')?;
        let (at, id) = rest.split_once('\n')?;
        (tag == listing && !id.contains('\0')).then_some(())?;
        Some((at.parse().ok()?, id.to_owned()))
    };
    read().ok_or_else(|| {
        Error::new("WEIR-STORE-010", Kind::Spec, "the cursor is not one of this listing")
            .hint("take `next_cursor` of the page before as it is, with the same filters")
    })
}
