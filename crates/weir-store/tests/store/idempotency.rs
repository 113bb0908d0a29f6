//! Requests that are sent again.

use tokio::task::JoinSet;
use weir_store::model::*;
use weir_store::{Actor, TenantScope};

use crate::world::*;

fn answer() -> StoredResponse {
    StoredResponse { status: 201, headers_json: r#"{"etag":"\"1\""}"#.into(), body: vec![0, 159, 146, 150] }
}

both! {
    async fn a_request_that_is_sent_again_has_the_same_answer(world) {
        let tenant = world.tenant("acme").await;
        assert_eq!(tenant.idempotent_begin("k", "f").await.unwrap(), Idempotent::New);
        assert_eq!(world.twin(&tenant).idempotent_begin("k", "f").await.unwrap(), Idempotent::InProgress);
        assert_eq!(tenant.idempotent_begin("k", "other").await.unwrap(), Idempotent::Mismatch);
        tenant.idempotent_finish("k", answer()).await.unwrap();
        assert_eq!(world.twin(&tenant).idempotent_begin("k", "f").await.unwrap(), Idempotent::Replay(answer()));
        assert_eq!(tenant.idempotent_begin("k", "other").await.unwrap(), Idempotent::Mismatch);
        tenant.idempotent_abandon("k").await.unwrap();
        assert_eq!(tenant.idempotent_begin("k", "f").await.unwrap(), Idempotent::Replay(answer()));
    }

    async fn an_abandoned_key_is_free(world) {
        let tenant = world.tenant("acme").await;
        tenant.idempotent_begin("k", "f").await.unwrap();
        tenant.idempotent_abandon("k").await.unwrap();
        assert_eq!(tenant.idempotent_begin("k", "other").await.unwrap(), Idempotent::New);
    }

    async fn keys_belong_to_tenant_and_actor(world) {
        let ann = world.tenant("acme").await;
        let other = world.tenant("other").await;
        let bob = world.store.tenant(&TenantScope::granted("acme".into(), Actor { id: "p-bob".into(), ..actor() }));
        for store in [&ann, &other, &bob] {
            assert_eq!(store.idempotent_begin("k", "f").await.unwrap(), Idempotent::New);
        }
        ann.idempotent_finish("k", answer()).await.unwrap();
        assert_eq!(bob.idempotent_begin("k", "f").await.unwrap(), Idempotent::InProgress);
        assert_eq!(other.idempotent_begin("k", "f").await.unwrap(), Idempotent::InProgress);
    }

    async fn a_key_is_forgotten_after_a_day(world) {
        let tenant = world.tenant("acme").await;
        tenant.idempotent_begin("k", "f").await.unwrap();
        tenant.idempotent_finish("k", answer()).await.unwrap();
        world.raw("UPDATE idempotency SET created_at = created_at - 86400000000").await.unwrap();
        assert_eq!(tenant.idempotent_begin("k", "other").await.unwrap(), Idempotent::New);
        assert_eq!(tenant.idempotent_begin("k", "other").await.unwrap(), Idempotent::InProgress);
    }

    async fn of_many_at_once_one_is_new(world) {
        let tenant = world.tenant("acme").await;
        let mut senders = JoinSet::new();
        for number in 0..10 {
            let store = if number % 2 == 0 { tenant.clone() } else { world.twin(&tenant) };
            senders.spawn(async move { store.idempotent_begin("k", "f").await.unwrap() });
        }
        let mut answers = senders.join_all().await;
        answers.sort_by_key(|answer| *answer != Idempotent::New);
        assert_eq!(answers.remove(0), Idempotent::New);
        assert!(answers.iter().all(|answer| *answer == Idempotent::InProgress), "{answers:?}");
    }
}
