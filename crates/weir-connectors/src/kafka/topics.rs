//! Topics as a whole: which there are, what identifies one, and making one.

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::bindings as sys;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode as Code;
use weir_connect::{Error, Kind, Result};

use super::client::{Address, Reading, Voice};
use super::errors::{of_code, shown};

/// The number that a topic has and that no other one of the same name ever gets (KIP-516). `None`: the broker is too old to say it, or may not.
///
/// The Rust client does not offer this call; it is made here by hand.
#[allow(unsafe_code)]
pub fn topic_id(consumer: &Reading, topic: &str, patience: Duration) -> Result<Option<String>> {
    let name = CString::new(topic).map_err(|_| Error::new("WEIR-KAFKA-001", Kind::Spec, "a topic's name has no NUL"))?;
    let client = consumer.client().native_ptr();
    let millis = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: every pointer is what the call before it returned and is checked for NULL; what the library gives out is destroyed once, at the end,
    // in the reverse order; what the result points to is read before that. `client` lives as long as `consumer`.
    unsafe {
        let queue = sys::rd_kafka_queue_new(client);
        let options = sys::rd_kafka_AdminOptions_new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        let mut names = [name.as_ptr()];
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
        let mut id = None;
        if !queue.is_null() && !options.is_null() && !topics.is_null() {
            sys::rd_kafka_AdminOptions_set_request_timeout(options, millis, ptr::null_mut(), 0);
            sys::rd_kafka_DescribeTopics(client, topics, options, queue);
            let event = sys::rd_kafka_queue_poll(queue, millis.saturating_add(1000));
            let result = if event.is_null() { ptr::null() } else { sys::rd_kafka_event_DescribeTopics_result(event) };
            if !result.is_null() {
                let mut count = 0;
                let found = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
                if count == 1 && !found.is_null() {
                    let uuid = sys::rd_kafka_TopicDescription_topic_id(*found);
                    let text = if uuid.is_null() { ptr::null() } else { sys::rd_kafka_Uuid_base64str(uuid) };
                    if !text.is_null() {
                        id = Some(CStr::from_ptr(text).to_string_lossy().into_owned());
                    }
                }
            }
            if !event.is_null() {
                sys::rd_kafka_event_destroy(event);
            }
        }
        if !topics.is_null() {
            sys::rd_kafka_TopicCollection_destroy(topics);
        }
        if !options.is_null() {
            sys::rd_kafka_AdminOptions_destroy(options);
        }
        if !queue.is_null() {
            sys::rd_kafka_queue_destroy(queue);
        }
        // The number zero is what a broker without numbers says.
        Ok(id.filter(|id| !id.is_empty() && id.bytes().any(|byte| byte != b'A')))
    }
}

/// The names of all topics that are data, sorted.
pub fn names(address: &Address, consumer: &Reading) -> Result<Vec<String>> {
    let metadata = address.metadata(consumer, None)?;
    let mut names: Vec<String> = metadata
        .topics()
        .iter()
        .map(|topic| topic.name().to_owned())
        .filter(|name| !name.starts_with("__") && !name.starts_with("weir.progress"))
        .collect();
    names.sort();
    Ok(names)
}

/// Makes a topic; one that is there already is fine.
pub async fn create(address: &Address, name: &str, partitions: i32, replication: i32, config: &[(&str, &str)]) -> Result<()> {
    let admin: AdminClient<Voice> =
        address.settings()?.create_with_context(Voice::default()).map_err(|error| shown(&error, address.place()))?;
    address.join(admin.inner())?;
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
    for (key, value) in config {
        topic = topic.set(key, value);
    }
    let options = AdminOptions::new().request_timeout(Some(address.patience())).operation_timeout(Some(address.patience()));
    let results = admin.create_topics([&topic], &options).await.map_err(|error| shown(&error, name))?;
    for result in results {
        match result {
            Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(of_code(code, &topic, code)),
        }
    }
    Ok(())
}
