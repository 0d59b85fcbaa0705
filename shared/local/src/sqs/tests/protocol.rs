//! Answers and errors in the shape that the SDK understands.

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
};

use super::*;

fn text(value: &str) -> MessageAttributeValue {
    MessageAttributeValue::builder()
        .data_type("String")
        .string_value(value)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_body_may_be_one_mebibyte_and_no_more() {
    let (queues, client, url) = setup(&[]).await;
    // Each of these bytes takes two in JSON.
    let largest = "\"".repeat(1 << 20);
    send(&client, &url, &largest).await;
    assert_eq!(
        receive(&client, &url).await[0].body().unwrap().len(),
        1 << 20
    );
    let refused = client
        .send_message()
        .queue_url(&url)
        .message_body(largest + "x")
        .send()
        .await
        .unwrap_err();
    assert_eq!(
        refused.into_service_error().meta().code(),
        Some("InvalidParameterValue")
    );
    assert!(
        queues
            .send("q", String::new(), SendOptions::default())
            .is_err(),
        "an empty body"
    );
}

#[tokio::test]
async fn a_queue_that_does_not_exist_is_named_as_such() {
    let (queues, client, url) = setup(&[]).await;
    let missing = "http://anything.example/000000000000/missing";
    let error = client
        .send_message()
        .queue_url(missing)
        .message_body("x")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_queue_does_not_exist(), "{error:?}");
    let error = client
        .get_queue_url()
        .queue_name("missing")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_queue_does_not_exist(), "{error:?}");
    let waiting = tokio::spawn({
        let (client, url) = (client.clone(), url.clone());
        async move {
            client
                .receive_message()
                .queue_url(url)
                .wait_time_seconds(20)
                .send()
                .await
        }
    });
    let_others_wait().await;
    client.delete_queue().queue_url(&url).send().await.unwrap();
    let error = waiting.await.unwrap().unwrap_err().into_service_error();
    assert!(
        error.is_queue_does_not_exist(),
        "a poll ends with its queue"
    );
    assert!(queues.names().is_empty());
}

#[tokio::test]
async fn receipt_handles_and_ranges_are_checked() {
    let (_, client, url) = setup(&[]).await;
    let error = client
        .delete_message()
        .queue_url(&url)
        .receipt_handle("nonsense")
        .send()
        .await
        .unwrap_err();
    assert!(error.into_service_error().is_receipt_handle_is_invalid());
    let receive = client.receive_message().queue_url(&url);
    for receive in [
        receive.clone().max_number_of_messages(11),
        receive.clone().max_number_of_messages(0),
        receive.clone().wait_time_seconds(21),
        receive.clone().visibility_timeout(43_201),
    ] {
        let error = receive.send().await.unwrap_err().into_service_error();
        assert_eq!(error.meta().code(), Some("InvalidParameterValue"));
    }
    let group = client
        .send_message()
        .queue_url(&url)
        .message_body("x")
        .message_group_id("not valid")
        .send()
        .await;
    assert!(group.is_err());
    let unknown = client
        .start_message_move_task()
        .source_arn(arn("q"))
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(unknown.is_unsupported_operation(), "{unknown:?}");
}

#[tokio::test]
async fn creating_a_queue_again_is_fine_unless_it_differs() {
    let (queues, client, url) = setup(&[(QueueAttributeName::VisibilityTimeout, "60")]).await;
    assert_eq!(
        create(
            &client,
            "q",
            &[(QueueAttributeName::VisibilityTimeout, "60")]
        )
        .await,
        url
    );
    let other = client
        .create_queue()
        .queue_name("q")
        .attributes(QueueAttributeName::VisibilityTimeout, "61");
    assert!(
        other
            .send()
            .await
            .unwrap_err()
            .into_service_error()
            .is_queue_name_exists()
    );
    for (name, value) in [
        ("VisibilityTimeout", "43201"),
        ("DelaySeconds", "x"),
        ("FifoQueue", "false"),
        ("Nonsense", "1"),
    ] {
        let refused = client
            .create_queue()
            .queue_name("other")
            .attributes(name.into(), value)
            .send()
            .await;
        let code = refused
            .unwrap_err()
            .into_service_error()
            .meta()
            .code()
            .unwrap()
            .to_owned();
        assert!(
            code == "InvalidAttributeValue" || code == "InvalidAttributeName",
            "{name}: {code}"
        );
    }
    let redrive = |queue: &str| {
        let policy = format!(
            r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":3}}"#,
            arn(queue)
        );
        queues.create("q", &BTreeMap::from([("RedrivePolicy".to_owned(), policy)]))
    };
    assert!(redrive("missing").is_err());
    assert!(redrive("q").is_err(), "its own dead-letter queue");
    // In process, creating means making it so.
    queues
        .create(
            "q",
            &BTreeMap::from([("VisibilityTimeout".to_owned(), "61".to_owned())]),
        )
        .unwrap();
    assert!(queues.create("not valid", &BTreeMap::new()).is_err());
}

#[tokio::test]
async fn attributes_and_tags_are_read_back() {
    let (_, client, url) = setup(&[]).await;
    send(&client, &url, "one").await;
    let set = client
        .set_queue_attributes()
        .queue_url(&url)
        .attributes(QueueAttributeName::DelaySeconds, "7");
    set.send().await.unwrap();
    let all = client
        .get_queue_attributes()
        .queue_url(&url)
        .attribute_names(QueueAttributeName::All)
        .send()
        .await
        .unwrap();
    let all = all.attributes().unwrap();
    assert_eq!(all[&QueueAttributeName::QueueArn], arn("q"));
    assert_eq!(all[&QueueAttributeName::DelaySeconds], "7");
    assert_eq!(all[&QueueAttributeName::VisibilityTimeout], "30");
    assert_eq!(all[&QueueAttributeName::ApproximateNumberOfMessages], "1");
    let none = client
        .get_queue_attributes()
        .queue_url(&url)
        .send()
        .await
        .unwrap();
    assert!(none.attributes().is_none());
    let unknown = client
        .get_queue_attributes()
        .queue_url(&url)
        .attribute_names("Nonsense".into())
        .send()
        .await;
    assert!(
        unknown
            .unwrap_err()
            .into_service_error()
            .is_invalid_attribute_name()
    );

    client
        .tag_queue()
        .queue_url(&url)
        .tags("a", "1")
        .tags("b", "2")
        .send()
        .await
        .unwrap();
    client
        .untag_queue()
        .queue_url(&url)
        .tag_keys("a")
        .send()
        .await
        .unwrap();
    let tags = client
        .list_queue_tags()
        .queue_url(&url)
        .send()
        .await
        .unwrap();
    assert_eq!(
        tags.tags().unwrap().iter().collect::<Vec<_>>(),
        [(&"b".to_owned(), &"2".to_owned())]
    );
    client.purge_queue().queue_url(&url).send().await.unwrap();
    assert!(receive(&client, &url).await.is_empty());
}

#[tokio::test]
async fn queues_are_listed_in_pages() {
    let (_, client, _) = setup(&[]).await;
    for name in ["runs-a", "runs-b", "runs-c"] {
        create(&client, name, &[]).await;
    }
    let list = client
        .list_queues()
        .queue_name_prefix("runs-")
        .max_results(2);
    let first = list.clone().send().await.unwrap();
    assert_eq!(first.queue_urls(), [url("runs-a"), url("runs-b")]);
    let second = list
        .next_token(first.next_token().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(second.queue_urls(), [url("runs-c")]);
    assert!(second.next_token().is_none());
}

#[tokio::test]
async fn attributes_of_messages_travel_with_their_digest() {
    let (queues, client, url) = setup(&[]).await;
    let blob = MessageAttributeValue::builder()
        .data_type("Binary")
        .binary_value(Blob::new([1, 2, 3]));
    let trace = MessageSystemAttributeValue::builder()
        .data_type("String")
        .string_value("Root=1")
        .build()
        .unwrap();
    let send = client
        .send_message()
        .queue_url(&url)
        .message_body("hello")
        .message_group_id("tenant");
    let send = send
        .message_attributes("name", text("Jeff"))
        .message_attributes("blob", blob.build().unwrap());
    let sent = send
        .message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, trace)
        .send()
        .await
        .unwrap();
    assert_eq!(
        sent.md5_of_message_body(),
        Some("5d41402abc4b2a76b9719d911017c592")
    );
    let received = receive(&client, &url).await;
    assert_eq!(
        received[0].md5_of_message_attributes(),
        sent.md5_of_message_attributes()
    );
    assert_eq!(
        received[0].message_attributes().unwrap()["blob"].binary_value(),
        Some(&Blob::new([1, 2, 3]))
    );
    assert_eq!(
        system(&received[0], MessageSystemAttributeName::MessageGroupId),
        "tenant"
    );
    assert_eq!(
        system(&received[0], MessageSystemAttributeName::AwsTraceHeader),
        "Root=1"
    );

    queues.release_in_flight().unwrap();
    let some = client
        .receive_message()
        .queue_url(&url)
        .message_attribute_names("na.*")
        .send()
        .await
        .unwrap();
    let some = some.messages()[0].clone();
    assert_eq!(
        some.message_attributes()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        ["name"]
    );
    assert!(some.attributes().is_none());

    queues.release_in_flight().unwrap();
    let record = queues.receive("q", 1, Duration::ZERO).await.remove(0);
    assert_eq!(record.message_attributes["name"]["stringValue"], "Jeff");
    assert_eq!(record.message_attributes["blob"]["binaryValue"], "AQID");
    assert_eq!(record.attributes["ApproximateReceiveCount"], "3");
    queues.delete("q", &record.receipt_handle);
    assert_eq!(queues.depth("q"), Depth::default());
}

#[tokio::test]
async fn the_service_answers_over_a_socket() {
    let queues = Queues::open(None).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = queues.router();
    tokio::spawn(async move { crate::wire::serve(listener, router, std::future::pending()).await });
    let config = client(&queues).config().to_builder().endpoint_url(endpoint);
    let config = config.http_client(aws::http_client(b""));
    let client = Client::from_conf(config.build());
    let url = create(&client, "q", &[]).await;
    let waiting = tokio::spawn({
        let (client, url) = (client.clone(), url.clone());
        async move {
            client
                .receive_message()
                .queue_url(url)
                .wait_time_seconds(20)
                .send()
                .await
        }
    });
    send(&client, &url, "over a socket").await;
    let received = waiting.await.unwrap().unwrap();
    assert_eq!(bodies(received.messages()), ["over a socket"]);
    delete(&client, &url, &received.messages()[0]).await;
    assert_eq!(queues.depth("q"), Depth::default());
}
