//! Names of people and places, and the words around names. Only data; common ones, to be added to.

/// Given names that are hardly ever anything else.
pub(super) const GIVEN: &str = "Ada Adam Adrian Ahmed Alan Albert Alex Alexander Alexandra Alfred Ali Alice Amanda Amelia Amy Ana Andrea Andreas Andrew Angela Anita Ann \
Anna Anne Anthony Antonio Arthur Barbara Beatrice Ben Benjamin Bernard Betty Bob Brian Bruno Carla Carlos Carol Caroline Catherine Charles Charlotte \
Chen Chloe Chris Christian Christina Christine Claire Clara Claudia Craig Cynthia Daniel David Deborah Dennis Diana Diego Dmitri Donald Donna Dorothy Douglas \
Edith Edward Eleanor Elena Elisabeth Elizabeth Ella Ellen Elon Emily Emma Eric Erik Ernest Ethan Eva Eve Evelyn Fatima Felix Fiona Florence Frances Francesco Francis \
Frank Fred Frederick Gabriel Gary George Georg Gerald Giovanni Giulia Gordon Greg Gregory Hannah Hans Harold Harry Heather Helen Helena Henry Hillary Howard Hugo Ian Ibrahim \
Ingrid Irene Isaac Isabel Isabella Ivan Jack Jacob Jacqueline James Jan Jane Janet Jason Jean Jeff Jeffrey Jennifer Jeremy Jessica Joan Joe Johannes John Jonas \
Jonathan Jose Joseph Joshua Juan Judith Julia Julian Julie Karen Karl Kate Katherine Kathleen Keith Kelly Kenneth Kevin Klaus Kumar Lars Laura Lauren Lawrence \
Leo Leon Leonard Li Linda Lisa Louis Louise Lucas Lucy Luis Luke Madeleine Manuel Marco Margaret Maria Marie Mario Martha Martin Martina Mary Matthew Maurice Max \
Megan Melissa Michael Michelle Miguel Mohamed Mohammed Monica Muhammad Nancy Natalie Nathan Nicholas Nicole Nikola Nina Noah Nora Oliver Olivia Oscar Otto Pablo \
Pamela Patricia Patrick Paul Paula Pedro Peter Philip Pierre Priya Rachel Raj Ralph Raymond Rebecca Richard Rita Robert Roberto Roger Roland Ronald Rosa Ruth \
Ryan Samantha Samuel Sandra Sara Sarah Satya Scott Sean Sergei Sharon Simon Sofia Sophia Sophie Stefan Stephanie Stephen Steve Steven Sundar Susan Sven Sylvia Teresa Theodore \
Thomas Tim Timothy Tom Tony Ursula Valentina Vera Victor Victoria Viktor Vincent Virginia Vladimir Walter Wei Wilhelm William Wolfgang Xavier Yusuf Yuki Zoe";

/// Before the name of a person.
pub(super) const TITLES: &[&str] = &[
    "Mr",
    "Mrs",
    "Ms",
    "Miss",
    "Dr",
    "Prof",
    "Professor",
    "Sir",
    "Lady",
    "President",
    "Senator",
    "Chancellor",
    "Minister",
    "Judge",
    "Captain",
    "Herr",
    "Frau",
];

/// At the end of the name of an organisation.
pub(super) const ORGANISATION_ENDS: &[&str] = &[
    "Inc",
    "Corp",
    "Corporation",
    "Ltd",
    "Limited",
    "LLC",
    "LLP",
    "PLC",
    "Plc",
    "GmbH",
    "AG",
    "SE",
    "KG",
    "SA",
    "SpA",
    "BV",
    "NV",
    "AB",
    "Oy",
    "Company",
    "Co",
    "Group",
    "Holdings",
    "Bank",
    "University",
    "Institute",
    "Foundation",
    "Association",
    "Committee",
    "Ministry",
    "Agency",
    "Council",
    "Airlines",
    "Airways",
    "Motors",
    "Industries",
    "Systems",
    "Technologies",
    "Labs",
    "Laboratories",
    "Partners",
    "Union",
    "Party",
    "Commission",
];

/// At the beginning of the name of an organisation, followed by `of`.
pub(super) const ORGANISATION_BEGINS: &[&str] = &[
    "University",
    "Bank",
    "Ministry",
    "Department",
    "Institute",
    "Association",
    "House",
    "Federation",
    "Council",
    "Court",
    "College",
    "School",
];

/// Organisations known by a name that does not say so.
pub(super) const ORGANISATIONS: &str = "Google|Microsoft|Apple|Amazon|Facebook|Meta|Netflix|Tesla|IBM|Intel|NVIDIA|Nvidia|Oracle|SAP|Siemens|Samsung|Sony|Toyota|Volkswagen|BMW|Boeing|Airbus|\
NASA|NATO|UNESCO|UNICEF|WHO|IMF|OPEC|FBI|CIA|BBC|CNN|Reuters|Bloomberg|Twitter|LinkedIn|PayPal|Visa|Mastercard|Walmart|IKEA|Nestlé|Novartis|Pfizer|Bayer|Bosch|\
United Nations|European Union|World Bank|European Central Bank|Federal Reserve|Red Cross|Goldman Sachs|JPMorgan|Deutsche Bank|HSBC|Wikipedia|Spotify|Uber|Airbnb";

/// Places.
pub(super) const PLACES: &str = "Afghanistan|Albania|Algeria|Andorra|Angola|Argentina|Armenia|Australia|Austria|Azerbaijan|Bahamas|Bahrain|Bangladesh|Barbados|Belarus|Belgium|Belize|\
Benin|Bhutan|Bolivia|Bosnia|Botswana|Brazil|Brunei|Bulgaria|Burundi|Cambodia|Cameroon|Canada|Chile|China|Colombia|Congo|Costa Rica|Croatia|Cuba|Cyprus|Czechia|\
Czech Republic|Denmark|Djibouti|Dominican Republic|Ecuador|Egypt|El Salvador|Eritrea|Estonia|Ethiopia|Fiji|Finland|France|Gabon|Gambia|Germany|Ghana|Greece|Grenada|\
Guatemala|Guinea|Guyana|Haiti|Honduras|Hungary|Iceland|India|Indonesia|Iran|Iraq|Ireland|Israel|Italy|Ivory Coast|Jamaica|Japan|Kazakhstan|Kenya|Kosovo|Kuwait|\
Kyrgyzstan|Laos|Latvia|Lebanon|Lesotho|Liberia|Libya|Liechtenstein|Lithuania|Luxembourg|Madagascar|Malawi|Malaysia|Maldives|Mali|Malta|Mauritania|Mauritius|Mexico|Moldova|Monaco|\
Mongolia|Montenegro|Morocco|Mozambique|Myanmar|Namibia|Nepal|Netherlands|New Zealand|Nicaragua|Niger|Nigeria|North Korea|North Macedonia|Norway|Oman|Pakistan|\
Palestine|Panama|Paraguay|Peru|Philippines|Poland|Portugal|Qatar|Romania|Russia|Rwanda|Saudi Arabia|Senegal|Serbia|Seychelles|Sierra Leone|Singapore|Slovakia|Slovenia|\
Somalia|South Africa|South Korea|South Sudan|Spain|Sri Lanka|Sudan|Suriname|Sweden|Switzerland|Syria|Taiwan|Tajikistan|Tanzania|Thailand|Togo|Tunisia|Turkey|\
Turkmenistan|Uganda|Ukraine|United Arab Emirates|United Kingdom|United States|Uruguay|Uzbekistan|Venezuela|Vietnam|Yemen|Zambia|Zimbabwe|England|Scotland|Wales|USA|UK|\
Africa|Asia|Europe|North America|South America|Antarctica|California|Texas|Florida|Bavaria|Amsterdam|Ankara|Athens|Atlanta|Auckland|Baghdad|Bangkok|Barcelona|Beijing|Beirut|Belgrade|\
Berlin|Bern|Birmingham|Bogotá|Boston|Brussels|Bucharest|Budapest|Buenos Aires|Cairo|Cape Town|Chicago|Cologne|Copenhagen|Dallas|Delhi|Denver|Detroit|Dubai|Dublin|Düsseldorf|\
Edinburgh|Florence|Frankfurt|Geneva|Glasgow|Hamburg|Hanoi|Helsinki|Hong Kong|Houston|Istanbul|Jakarta|Jerusalem|Johannesburg|Karachi|Kyiv|Kyoto|Lagos|Lima|Lisbon|Liverpool|\
London|Los Angeles|Lyon|Madrid|Manchester|Manila|Marseille|Melbourne|Mexico City|Miami|Milan|Montreal|Moscow|Mumbai|Munich|Nairobi|Naples|New Delhi|New York City|New York|Osaka|Oslo|\
Ottawa|Paris|Philadelphia|Prague|Rio de Janeiro|Rome|Rotterdam|San Francisco|San Diego|Santiago|São Paulo|Seattle|Seoul|Shanghai|Shenzhen|Sofia|Stockholm|Stuttgart|Sydney|Tehran|\
Tel Aviv|Tokyo|Toronto|Vancouver|Venice|Vienna|Warsaw|Washington|Zagreb|Zurich|Zürich";

/// Words that begin a sentence with a capital and are no part of a name.
pub(super) const NO_NAMES: &[&str] = &[
    "The",
    "A",
    "An",
    "This",
    "That",
    "These",
    "Those",
    "He",
    "She",
    "It",
    "We",
    "They",
    "I",
    "You",
    "My",
    "His",
    "Her",
    "Our",
    "Their",
    "In",
    "On",
    "At",
    "From",
    "To",
    "For",
    "With",
    "By",
    "And",
    "But",
    "Or",
    "If",
    "When",
    "While",
    "After",
    "Before",
    "As",
    "Of",
    "Is",
    "Are",
    "Was",
    "Were",
    "Yesterday",
    "Today",
    "Tomorrow",
    "Then",
    "There",
    "Here",
    "Not",
    "No",
    "Yes",
    "Dear",
    "Hello",
    "Hi",
    "Please",
    "Call",
    "Contact",
    "Write",
    "Ask",
    "Meet",
];
