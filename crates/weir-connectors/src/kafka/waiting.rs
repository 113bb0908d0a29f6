//! What a client has fetched already, many records in one call: asked for one by one they cost more than what is in them.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::os::raw::c_void;
use std::ptr::{null, null_mut};

use rdkafka::Timestamp;
use rdkafka::bindings as sys;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::{Header, Headers, Message};

use super::client::Reading;

/// Records of one call. They are in memory twice at most: what was taken, and what the client fetches in its place.
const MOST: usize = 256;

/// The records that wait in a client.
pub struct Waiting<'c> {
    queue: *mut sys::rd_kafka_queue_t,
    /// The queue lives no longer than its client.
    client: PhantomData<&'c Reading>,
}

impl<'c> Waiting<'c> {
    /// Of this client, which was given its partitions.
    #[allow(unsafe_code)]
    pub fn of(client: &'c Reading) -> Self {
        // SAFETY: the client lives; the handle is given back when this is dropped.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(client.client().native_ptr()) };
        Self { queue, client: PhantomData }
    }

    /// Those that are there now, at most some hundred; does not wait.
    #[allow(unsafe_code)]
    pub fn take(&self) -> Taken {
        let mut records: Vec<*mut sys::rd_kafka_message_t> = vec![null_mut(); MOST];
        if self.queue.is_null() {
            return Taken(Vec::new());
        }
        // SAFETY: there is room for so many.
        let count = unsafe { sys::rd_kafka_consume_batch_queue(self.queue, 0, records.as_mut_ptr(), MOST) };
        records.truncate(usize::try_from(count).unwrap_or(0));
        Taken(records)
    }
}

impl Drop for Waiting<'_> {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        if !self.queue.is_null() {
            // SAFETY: it was made by `rd_kafka_queue_get_consumer` and is not used after this.
            unsafe { sys::rd_kafka_queue_destroy(self.queue) }
        }
    }
}

/// Records that were taken, in their order.
pub struct Taken(Vec<*mut sys::rd_kafka_message_t>);

impl Taken {
    /// More may be waiting.
    pub fn full(&self) -> bool {
        self.0.len() == MOST
    }

    /// Each, or what the client says in its place.
    #[allow(unsafe_code)]
    pub fn records(&self) -> impl Iterator<Item = Result<Record<'_>, Code>> {
        self.0.iter().map(|record| {
            // SAFETY: the library gave it, and it is given back when this is dropped.
            let record = unsafe { &**record };
            match Code::from(record.err) {
                Code::NoError => Ok(Record(record)),
                code => Err(code),
            }
        })
    }
}

impl Drop for Taken {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        for record in &self.0 {
            // SAFETY: the library gave it, and nobody has it any more.
            unsafe { sys::rd_kafka_message_destroy(*record) }
        }
    }
}

/// A record that was taken.
pub struct Record<'t>(&'t sys::rd_kafka_message_t);

/// What the library has been given, or has.
#[allow(unsafe_code)]
fn bytes<'t>(first: *const c_void, length: usize) -> Option<&'t [u8]> {
    // SAFETY: callers pass a pair of one record, whose bytes live as long as it.
    (!first.is_null()).then(|| unsafe { std::slice::from_raw_parts(first.cast(), length) })
}

impl Message for Record<'_> {
    type Headers = NativeHeaders;

    fn key(&self) -> Option<&[u8]> {
        bytes(self.0.key, self.0.key_len)
    }

    fn payload(&self) -> Option<&[u8]> {
        bytes(self.0.payload, self.0.len)
    }

    #[allow(unsafe_code)]
    unsafe fn payload_mut(&mut self) -> Option<&mut [u8]> {
        // Nobody changes what was read.
        None
    }

    #[allow(unsafe_code)]
    fn topic(&self) -> &str {
        // SAFETY: a record's topic lives as long as it; its name is a text.
        let name = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(self.0.rkt)) };
        name.to_str().unwrap_or_default()
    }

    fn partition(&self) -> i32 {
        self.0.partition
    }

    fn offset(&self) -> i64 {
        self.0.offset
    }

    #[allow(unsafe_code)]
    fn timestamp(&self) -> Timestamp {
        use sys::rd_kafka_timestamp_type_t::{RD_KAFKA_TIMESTAMP_CREATE_TIME, RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME};
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the record lives.
        let time = unsafe { sys::rd_kafka_message_timestamp(self.0, &mut kind) };
        match kind {
            _ if time == -1 => Timestamp::NotAvailable,
            RD_KAFKA_TIMESTAMP_CREATE_TIME => Timestamp::CreateTime(time),
            RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => Timestamp::LogAppendTime(time),
            _ => Timestamp::NotAvailable,
        }
    }

    #[allow(unsafe_code)]
    fn headers(&self) -> Option<&NativeHeaders> {
        let mut headers = null_mut();
        // SAFETY: the record lives, and its headers as long as it. They are read through the library only.
        unsafe {
            let found = Code::from(sys::rd_kafka_message_headers(self.0, &mut headers));
            if found == Code::NoError { headers.cast::<NativeHeaders>().as_ref() } else { None }
        }
    }
}

/// The headers of a record, as the library has them: only ever behind a reference.
#[repr(C)]
pub struct NativeHeaders([u8; 0]);

impl Headers for NativeHeaders {
    #[allow(unsafe_code)]
    fn count(&self) -> usize {
        // SAFETY: a reference is only made of the library's own.
        unsafe { sys::rd_kafka_header_cnt(std::ptr::from_ref(self).cast()) }
    }

    #[allow(unsafe_code)]
    fn try_get(&self, index: usize) -> Option<Header<'_, &[u8]>> {
        let (mut name, mut value, mut length) = (null(), null(), 0);
        // SAFETY: as above; names are texts that end with NUL, and live as long as the headers.
        let name = unsafe {
            let found = sys::rd_kafka_header_get_all(std::ptr::from_ref(self).cast(), index, &mut name, &mut value, &mut length);
            if Code::from(found) != Code::NoError {
                return None;
            }
            CStr::from_ptr(name)
        };
        Some(Header { key: name.to_str().unwrap_or_default(), value: bytes(value, length) })
    }
}
