//! What the two arms count.

use http::header::CONTENT_LENGTH;

use super::*;
use crate::http::exchange::Outgoing;
use crate::http::testing::streamed;
use crate::storage::Scratch;

#[tokio::test]
async fn each_transfer_of_the_adaptive_arm_counts_under_its_own_names_too() {
    for is_adaptive in [true, false] {
        let rig = Rig::with(|config| config.pace.enabled = is_adaptive);
        assert_eq!(rig.send(put("a/whole", BYTES)).await.status, 201);
        assert_eq!(rig.send(get("a/whole")).await.status, 200);
        let (mut client, body) = streamed().await;
        let head = proven(Dialect::V1, &slot_of(&path("a/broken"), 9)).header(CONTENT_LENGTH, 9);
        let answer = rig.start(head.body(body).unwrap());
        client.send(b"forty");
        client.leave();
        assert_ne!(answer.await.unwrap().status, 201);
        let mut broken = rig.call(get("a/whole")).await;
        let Outgoing::File(file) = broken.body_mut() else { panic!("no file") };
        file.refill(4, &mut Scratch::default()).await.unwrap();
        drop(broken);
        for name in [
            "upload_duration_seconds_count",
            "upload_errors_total",
            "download_duration_seconds_count",
            "download_errors_total",
        ] {
            let counted = (rig.metric(name), rig.metric(&format!("adaptive_{name}")));
            assert_eq!(counted, (1.0, f64::from(u8::from(is_adaptive))), "{name}");
        }
    }
}
