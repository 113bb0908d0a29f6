//! What English words say: strengths, degrees, negations. Only data.

/// Strength → words.
pub(super) const WORDS: &[(f64, &str)] = &[
    (
        3.0,
        "amazing awesome excellent outstanding superb fantastic brilliant wonderful perfect perfectly phenomenal magnificent masterpiece \
         flawless incredible exceptional extraordinary marvelous marvellous terrific best love loves loved adore thrilled \
         delicious heavenly stunning gorgeous unbeatable",
    ),
    (
        2.0,
        "good great happy glad delighted enjoy enjoyed enjoyable impressive impressed beautiful beautifully lovely delightful pleasant pleased \
         pleasing recommend recommended satisfied satisfying favorite favourite fun funny hilarious charming exciting excited superior top \
         tasty yummy fresh friendly helpful generous kind attentive remarkable talented clever smart fascinating captivating touching moving \
         memorable powerful worth worthwhile win winner wins won success successful succeed praise quality reliable \
         elegant inspiring refreshing thoughtful joy blessed grateful thankful thanks thank bargain sturdy comfortable \
         comfy cozy authentic flavorful juicy entertaining solid clean genius wow",
    ),
    (
        1.2,
        "nice like liked likes fine well cool decent interesting easy easily fast quick quickly prompt smooth smoothly clear crisp \
         useful handy convenient affordable cheap bright sharp strong warm welcome welcoming works worked work improved improve improvement \
         improves better safe secure accurate durable light lightweight sleek stylish simple effective efficient positive hope hopeful \
         support fair honest trust ideal intelligent creative original classic compelling believable sweet crispy tender \
         gem treat special attractive cute perfected plus benefit advantage happy-hour reasonable reasonably \
         appreciate appreciated fits compliment compliments subtle wonderfully realistic pretty-good legit hooked",
    ),
    (
        -1.2,
        "slow slowly dull bland boring bored cold dry old dated loose noisy loud small tiny weak cheaply flimsy pricey overpriced expensive \
         difficult hard confusing confused unclear mediocre average meh lacking lacks lack lacked missing miss missed problem problems issue issues \
         trouble error errors fault faulty limited uncomfortable awkward predictable cliche forgettable flat stale greasy \
         salty burnt soggy undercooked overcooked dirty unfriendly inconvenient delay delayed late wait waited waiting unimpressed \
         unfortunately sadly negative cancel cancelled canceled unhappy tired drained static dropped drops drop unreliable \
         less avoided complain complained complaint complaints wrong tough rubbery skip attempt supposed barely hardly \
         charged paid cheesy lame tedious long mess messy",
    ),
    (
        -2.0,
        "bad badly poor poorly disappoint disappointed disappointing disappointment disappointments broken broke breaks break fail fails failed failing failure sad \
         hate hates hated dislike disliked annoying annoyed irritating rude ugly unusable unacceptable unpleasant useless \
         waste wasted wasting junk crap crappy sucks suck sucked stupid dumb ridiculous pointless pathetic angry upset worse avoid \
         regret return returned refund unprofessional sick nasty gross lousy inferior defective damaged damage dead died dies \
         painful pain hurt hurts frustrating frustrated frustration cheated lie lied lies liar scam fraud ripoff rip-off \
         lost lose losing loss error-prone crash crashed crashes freeze freezes frozen tasteless inedible overrated underwhelming \
         embarrassing embarrassed insulting insult insulted ignored neglected poisoning hair bug bugs flies unsatisfying \
         unfunny plotless wooden amateurish contrived incoherent senseless mistake fear war kill killed",
    ),
    (
        -3.0,
        "terrible horrible awful worst disgusting dreadful atrocious abysmal appalling horrendous garbage trash disaster nightmare \
         disgrace disgraceful vile unbearable unwatchable horrid torture hideous catastrophe worthless shame vomit filthy",
    ),
];

/// Factor → words that change the strength of what follows.
pub(super) const DEGREES: &[(f64, &str)] = &[
    (
        1.4,
        "very really extremely absolutely totally completely so incredibly truly highly super especially exceptionally utterly most such",
    ),
    (1.2, "quite pretty more too definitely certainly even well"),
    (0.6, "slightly somewhat rather fairly little bit kinda sorta partly almost mostly kind"),
];

/// Words that turn what follows around, beside those that end in `n't`.
pub(super) const NEGATIONS: &[&str] = &[
    "not", "no", "never", "none", "nothing", "nobody", "neither", "nor", "without", "cannot", "cant", "dont", "doesnt", "didnt",
    "isnt", "wasnt", "wont", "wouldnt", "couldnt", "shouldnt", "aint", "hardly", "barely", "far",
];
