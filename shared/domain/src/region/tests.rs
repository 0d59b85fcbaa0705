mod model;

use super::*;

fn regions(own: &str) -> Regions {
    Regions::parse("us-east-1=https://us.example/, eu-west-1", own).unwrap()
}

#[test]
fn a_list_of_regions_says_where_this_is() {
    let (us, eu) = (regions("us-east-1"), regions("eu-west-1"));
    assert_eq!((us.first_epoch(), eu.first_epoch()), (0, 1));
    assert!(us.is_own(0) && us.is_own(8) && !us.is_own(1) && !eu.is_own(8));
    assert_eq!(eu.of(8).unwrap().url.as_deref(), Some("https://us.example"));
    assert_eq!(eu.of(2), None, "there is no third one");
    assert_eq!(us.first_epochs_elsewhere().collect::<Vec<_>>(), [1]);
    assert_eq!(Regions::parse(&eu.to_string(), "eu-west-1").unwrap(), eu);
    let one = Regions::parse("", "us-east-1").unwrap();
    assert!(one.is_one() && one.is_own(0) && one.is_own(7) && one.own().is_none());
}

#[test]
fn a_list_that_would_mix_regions_up_is_refused() {
    let refused = |text| Regions::parse(text, "us-east-1").unwrap_err();
    assert_eq!(refused("us-east-1"), Error::Number);
    assert_eq!(refused("us-east-1,us-east-1"), Error::Number);
    assert_eq!(refused("a,b,c,d,e,f,g,h,us-east-1"), Error::Number);
    assert!(matches!(
        refused("eu-west-1,eu-north-1"),
        Error::Stranger(_)
    ));
    assert!(matches!(
        refused("us-east-1=here,eu-west-1"),
        Error::Entry(_)
    ));
    assert!(matches!(refused("us east,eu-west-1"), Error::Entry(_)));
}

#[test]
fn each_region_has_epochs_of_its_own_and_a_move_is_to_a_later_one() {
    for own in 0..MOST {
        for epoch in 0..100 {
            let next = next_epoch(epoch, own);
            assert!(next > epoch && next <= epoch + MOST && next % MOST == own);
        }
    }
}

#[test]
fn a_home_remembers_where_it_was() {
    let home = Home::default().moved(1, 7).moved(8, 9);
    assert_eq!(home.epochs().collect::<Vec<_>>(), [8, 1, 0]);
    assert_eq!(home.former[0].entries, 9);
    let json = serde_json::to_string(&home).unwrap();
    assert_eq!(serde_json::from_str::<Home>(&json).unwrap(), home);
    assert!(
        serde_json::from_str::<Home>(r#"{"epoch":0}"#)
            .unwrap()
            .is_first()
    );
}
