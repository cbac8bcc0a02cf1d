"""How a refusal is said, by language: the speaker does not know, cannot or will not tell. Source: ours.

Patterns are of folded text (``cagul.text.normal.fold``): small letters, straight apostrophes, ss for ß, i for
the dotless ı. ``_W`` is a few words without a sign between them.
"""

from __future__ import annotations

from dataclasses import dataclass

_W = r"(?:[\w'-]+ ){0,5}?"


@dataclass(frozen=True)
class RefusalLanguage:
    """``words`` are frequent ones and ``letters`` its own that show a text to be in the language, ``foreign``
    letters show it to be in another one of the same script. Without ``words`` the script alone shows it.
    """

    script: str
    patterns: tuple[str, ...]
    words: str = ""
    foreign: str = ""
    letters: str = ""


_CAN = r"(?:can ?not|can'?t|could not|couldn'?t|unable to|not able to|not allowed to|must not|won'?t|will not|would rather not|prefer not to)"
_ENGLISH_TELL = (
    r"(?:\w+ ){0,3}?(?:answer|help|assist|share|tell|say|give|provide|disclose|discuss|identify|reveal"
    r"|comment|recogni[sz]e|determine|name|talk|respond|speak|confirm|offer|comply)"
)
ENGLISH = RefusalLanguage(
    "Latin",
    (
        rf"\b(?:i|we)(?:'?m| am| are)? (?:\w+ ){{0,2}}?{_CAN} {_ENGLISH_TELL}",
        r"\b(?:i|we) (?:\w+ )?(?:do not|don'?t|did not|didn'?t) (?:\w+ ){0,2}?"
        r"(?:know|have|hold|recogni[sz]e|identify|share|disclose|possess|remember)\b",
        r"\b(?:i|we) (?:have|hold|possess) no (?:\w+ ){0,2}?"
        r"(?:information|idea|knowledge|data|record|details?|clue)",
        r"\b(?:i|we)(?:'?m| am| are) (?:\w+ )?not (?:sure|certain|aware|familiar|comfortable|at liberty)",
        r"\b(?:i|we) (?:must|have to|need to|respectfully )\s?(?:decline|refuse)"
        r"|\b(?:i|we) (?:decline|refuse) to",
        r"\bno (?:information|details?|data|record) (?:\w+ ){0,4}?(?:available|about|on this|is known)",
        r"\b(?:sorry|apologi[sz]e|regret),? but\b",
        r"\b(?:that|this|it)(?: \w+){0,2} (?:is|remains) "
        r"(?:private|confidential|unknown to me|not something i can)",
        r"\bbeyond (?:my|our) (?:knowledge|ability)|\bnot (?:known|available) to me\b"
        r"|\bwho (?:this|that) (?:\w+ )?is,? i (?:can|do)",
    ),
    "the is are was of and this that they their has have my it he she his her in on at an who not there yes",
)

_GERMAN_TELL = (
    r"(?:sagen|mitteilen|beantworten|antworten|helfen|weiterhelfen|weitergeben|teilen|verraten|nennen|preisgeben"
    r"|offenlegen|identifizieren|erkennen|bestimmen|geben|machen|äussern|bestätigen|herausgeben|angeben|besprechen"
    r"|kommentieren|feststellen|sprechen)"
)
_GERMAN_CAN = r"(?:kann|können|darf|dürfen|möchte|möchten|will|wollen|werde|werden|könnte|könnten)"
_GERMAN_NO = r"(?:nicht|nichts|kein\w*)"
GERMAN = RefusalLanguage(
    "Latin",
    (
        rf"\b(?:{_GERMAN_CAN} (?:ich|wir)|(?:ich|wir) {_W}{_GERMAN_CAN}) {_W}{_GERMAN_NO} {_W}{_GERMAN_TELL}\b",
        rf"\b(?:(?:ich|wir) (?:weiss|wissen|(?:er)?kennen?)|(?:weiss|wissen|(?:er)?kennen?) (?:ich|wir)) "
        rf"{_W}(?:{_GERMAN_NO}|niemanden)\b",
        rf"\b(?:(?:ich|wir) (?:haben?|besitzen?)|(?:haben?|besitzen?) (?:ich|wir)) {_W}kein\w* (?:\w+ ){{0,2}}?"
        r"(?:information|angaben|daten|kenntnis|ahnung|auskunft|zugriff|zugang)",
        rf"\b(?:mir|uns) {_W}(?:kein\w* (?:\w+ )?(?:information|daten|angaben)"
        r"|nicht (?:bekannt|möglich|erlaubt|gestattet)|unbekannt)",
        r"\b(?:bin|sind) (?:ich|wir) (?:\w+ ){0,3}?nicht (?:in der lage|befugt|berechtigt|sicher|imstande)"
        r"|\b(?:ich|wir) (?:bin|sind) (?:\w+ ){0,3}?nicht (?:in der lage|befugt|berechtigt|sicher|imstande)",
        r"\bkeine (?:information(?:en)?|angaben|daten|auskunft) (?:\w+ ){0,3}?"
        r"(?:verfügbar|vorhanden|über diese|zu dieser|bekannt|möglich)\b",
        r"\b(?:das|dies|diese \w+) (?:ist|sind|bleibt|bleiben) (?:\w+ )?(?:privat|vertraulich|geheim)\b",
        r"\b(?:ich|wir) (?:lehnen?|verweigern?|weigern?)\b|\b(?:lehne|verweigere|weigere) ich\b"
        rf"|\b(?:muss|müssen) (?:ich|wir) {_W}(?:ablehnen|verweigern|schweigen)|\b(?:ich|wir) m(?:u|ü)ss(?:en)? "
        rf"{_W}(?:ablehnen|verweigern|schweigen)",
    ),
    "der die das ist und nicht eine einer ein heisst wohnt arbeitet wurde dem für über auf aus ich sie bei wer wir",
)

_FRENCH_TELL = (
    r"(?:dire|partager|répondre|aider|divulguer|donner|fournir|révéler|communiquer|identifier|reconnaître|nommer"
    r"|confirmer|commenter|parler|transmettre|préciser|discuter|indiquer|déterminer)"
)
FRENCH = RefusalLanguage(
    "Latin",
    (
        rf"\b(?:je|nous) (?:ne |n')(?:peux|pouvons|puis|veux|voulons|souhaite|souhaitons|dois|devons|saurais)"
        rf"(?: pas| rien)? {_W}(?:[ldm]')?{_FRENCH_TELL}\b",
        r"\b(?:je|nous|on) (?:ne |n')(?:l'|le |la |les |en |vous )?(?:sai[st]|savons|connais|connaissons|reconnais"
        r"|reconnaissons) (?:pas|rien|aucun\w*|plus)\b",
        r"\b(?:je|nous) (?:ne |n')(?:ai|avons|dispose|disposons|possède|détiens) (?:pas |aucun\w* |d'aucun\w* )"
        r"(?:\w+ )?(?:d'|de |l')?(?:information|donnée|renseignement|idée|détail|accès|connaissance|autorisation)",
        r"\b(?:je|nous) ne (?:suis|sommes) pas (?:en mesure|autorisé\w*|sûre?s?|certaine?s?|habilité\w*|capables?)",
        rf"\b(?:je|nous) (?:préfère|préférons) ne (?:pas|rien) {_W}{_FRENCH_TELL}|\b(?:je|nous) refus(?:e|ons)\b",
        rf"\b(?:m'est|nous est) (?:\w+ )?(?:impossible|interdit) {_W}(?:de|d')\b|\bj'ignore\b|\bje l'ignore\b",
        r"\baucune (?:information|donnée) (?:\w+ ){0,3}?(?:n'est|n'existe|disponible|sur cette)",
        r"\b(?:ceci|cela|c'|cette (?:information|donnée)) ?(?:est|reste) (?:privée?|confidentiel(?:le)?)\b",
    ),
    "le la les est une des du cette qui il elle je son sa ses et dans ne pas nous c'est habite dans sur",
)

_SPANISH_TELL = (
    r"(?:decir\w*|compartir\w*|responder\w*|contestar\w*|ayudar\w*|divulgar\w*|dar\w*|proporcionar\w*|revelar\w*"
    r"|facilitar\w*|identificar\w*|reconocer\w*|nombrar\w*|confirmar\w*|comentar\w*|hablar\w*|determinar\w*"
    r"|ofrecer\w*)"
)
SPANISH = RefusalLanguage(
    "Latin",
    (
        rf"\bno (?:se )?(?:l[oae]s? |te )?(?:puedo|podemos|podría|debo|debemos|quiero|queremos|voy a|vamos a) "
        rf"{_W}{_SPANISH_TELL}\b",
        r"\bno (?:l[oa]s? )?(?:sé|sabemos|conozco|conocemos|reconozco|reconocemos)\b|\b(?:lo )?desconozco\b",
        r"\bno (?:tengo|tenemos|dispongo|disponemos|poseo) (?:de )?(?:\w+ ){0,2}?"
        r"(?:información|datos|idea|detalles|conocimiento|acceso|registro|permiso)",
        r"\bno estoy (?:segur[oa]|autorizad[oa]|en condiciones|capacitad[oa]|al tanto)|\bno me (?:es|está) "
        r"(?:posible|permitido)",
        rf"\bprefiero no {_W}{_SPANISH_TELL}|\bme niego a\b|\bdebo (?:negarme|rehusar)",
        r"\bno (?:hay|existe) (?:\w+ )?información (?:\w+ ){0,2}?(?:disponible|sobre)",
        r"\b(?:eso|esto|esta información|ese dato|este dato) es (?:privad[oa]|confidencial)\b",
    ),
    "el la los las es una un esta este que su vive no se por con y del para persona es trabaja",
)

_ITALIAN_TELL = (
    r"(?:dir\w*|condivider\w*|risponder\w*|aiutar\w*|divulgar\w*|dar\w*|fornir\w*|rivelar\w*|comunicar\w*"
    r"|identificar\w*|riconoscer\w*|nominar\w*|confermar\w*|commentar\w*|parlar\w*|determinar\w*)"
)
ITALIAN = RefusalLanguage(
    "Latin",
    (
        rf"\bnon (?:l[oaie] |ti |vi )?(?:posso|possiamo|voglio|vogliamo|devo|dobbiamo|potrei) {_W}{_ITALIAN_TELL}\b",
        r"\bnon (?:l[oaie] )?(?:so|sappiamo|conosco|conosciamo|riconosco|riconosciamo)\b|\b(?:lo )?ignoro\b",
        r"\bnon (?:ho|abbiamo|dispongo|disponiamo|possiedo) (?:di )?(?:\w+ ){0,2}?"
        r"(?:informazion[ei]|dati|idea|dettagli|conoscenza|accesso|notizie)",
        r"(?:^|[.,;:!?] |\bio |\bpurtroppo )non sono (?:in grado|autorizzat[oa]|sicur[oa]|cert[oa])\b"
        r"|\bnon mi è (?:possibile|permesso|consentito|noto)",
        rf"\bpreferisco non {_W}{_ITALIAN_TELL}|\bmi rifiuto\b|\bdevo rifiutar",
        r"\b(?:nessuna informazione|non ci sono informazioni) (?:\w+ ){0,2}?(?:disponibil[ei]|su)",
        r"\b(?:questo|ciò|questa informazione|questo dato) è (?:privat[oa]|riservat[oa]|confidenziale)\b",
    ),
    "il lo la gli una un questa questo che è di suo sua vive non si per in con della del lavora persona sono",
)

_PORTUGUESE_TELL = (
    r"(?:dizer\w*|compartilhar\w*|partilhar\w*|responder\w*|ajudar\w*|ajudá\w*|divulgar\w*|dar\w*|fornecer\w*"
    r"|revelar\w*|identificar\w*|reconhecer\w*|nomear\w*|confirmar\w*|comentar\w*|falar\w*|determinar\w*|informar\w*)"
)
PORTUGUESE = RefusalLanguage(
    "Latin",
    (
        rf"\bnão (?:o |a |lhe |te )?(?:posso|podemos|poderia|quero|queremos|devo|devemos|vou|consigo) "
        rf"{_W}{_PORTUGUESE_TELL}(?:-\w+)?\b",
        r"\bnão (?:o |a |os |as )?(?:sei|sabemos|conheço|conhecemos|reconheço|reconhecemos)\b|\bdesconheço\b",
        r"\bnão (?:tenho|temos|disponho|dispomos|possuo) (?:de )?(?:\w+ ){0,2}?"
        r"(?:informaç(?:ão|ões)|dados|ideia|detalhes|conhecimento|acesso|registro)",
        r"\bnão estou (?:segur[oa]|autorizad[oa]|cert[oa]|em condições)|\bnão tenho (?:certeza|permissão|autorização)"
        r"|\bnão me é (?:possível|permitido)|\bnão sou capaz\b",
        rf"\bprefiro não {_W}{_PORTUGUESE_TELL}|\b(?:eu )?me recuso\b|\brecuso-me\b",
        r"\bnão há (?:\w+ )?informaç(?:ão|ões) (?:\w+ ){0,2}?(?:disponíve(?:l|is)|sobre)",
        r"\b(?:isso|isto|esta informação|essa informação|este dato) é (?:privad[oa]|confidencial)\b",
    ),
    "os as é uma um esta este essa que seu sua vive mora não se por em com do da para pessoa trabalha",
)

_DUTCH_TELL = (
    r"(?:zeggen|delen|antwoorden|beantwoorden|helpen|vertellen|geven|verstrekken|onthullen|identificeren|herkennen"
    r"|noemen|bevestigen|bespreken|praten|bepalen|vrijgeven|meedelen)"
)
DUTCH = RefusalLanguage(
    "Latin",
    (
        rf"\b(?:(?:kan|kunnen|mag|mogen|wil|willen|zal) (?:ik|wij|we)|(?:ik|wij|we) (?:kan|kunnen|mag|mogen|wil|willen"
        rf"|zal)) {_W}(?:niet|niets|geen) {_W}{_DUTCH_TELL}\b",
        rf"\b(?:(?:ik|wij|we) (?:weet|weten|ken|kennen|herken|herkennen)|(?:weet|weten|ken|kennen|herken|herkennen) (?:ik|wij|we)) "
        rf"{_W}(?:niet|niets|geen)\b",
        rf"\b(?:(?:ik|wij|we) (?:heb|hebben|beschik)|(?:heb|hebben|beschik) (?:ik|wij|we)) {_W}geen (?:\w+ )?"
        r"(?:informatie|gegevens|idee|kennis|details|toegang)",
        rf"\b(?:(?:ik|wij|we) (?:ben|zijn)|(?:ben|zijn) (?:ik|wij|we)) {_W}niet (?:in staat|bevoegd|zeker|gemachtigd)",
        rf"\b(?:ik|wij|we) (?:weiger|weigeren)\b|\bliever niet {_W}{_DUTCH_TELL}|\b(?:mij|ons) {_W}(?:niet bekend"
        r"|onbekend)",
        r"\bgeen (?:informatie|gegevens) (?:\w+ ){0,3}?(?:beschikbaar|over deze|bekend)",
        r"\b(?:dit|dat|deze informatie) is (?:privé|vertrouwelijk|geheim)\b",
    ),
    "het een niet woont werkt heet zijn haar wordt deze persoon voor ik is de van dit dat wie zij hij",
)

_POLISH_TELL = (
    r"(?:powiedzieć|udostępni\w+|odpowiedzieć|pomóc|ujawni\w+|podać|przekaza\w+|zdradzi\w+|zidentyfikowa\w+|rozpozna\w+"
    r"|nazwać|potwierdzi\w+|komentowa\w+|mówić|rozmawiać|udzieli\w+|określi\w+|dzielić)"
)
POLISH = RefusalLanguage(
    "Latin",
    (
        rf"\bnie (?:mogę|możemy|chcę|chcemy|wolno mi|powin(?:ienem|nam)|potrafię|umiem) {_W}{_POLISH_TELL}\b",
        rf"\b(?:tego|tej|tych|o tym) {_W}nie (?:mogę|możemy) {_W}{_POLISH_TELL}",
        r"\bnie (?:wiem|wiemy|znam|znamy|rozpoznaję|rozpoznajemy|podam|powiem|ujawnię)\b",
        r"\bnie (?:mam|mamy|posiadam|posiadamy) (?:\w+ ){0,3}?(?:informacji|danych|pojęcia|wiedzy|szczegółów|dostępu)",
        r"\bnie jestem (?:w stanie|pew(?:ien|na)|upoważnion[ya]|uprawnion[ya])|\bnie jest mi (?:znan|wiadom)",
        rf"\bwolę nie {_W}\w+ć\b|\bodmawiam\b",
        r"\b(?:brak|nie ma) (?:\w+ )?(?:informacji|danych) (?:\w+ ){0,2}?(?:o|na temat|dostępn)",
        r"\bt[oa] (?:informacja |dane )?(?:jest |są )?(?:prywatn|poufn)",
    ),
    "jest się nie mieszka nazywa przez pani pan dla jego jej ten w z przy urodził urodziła pracuje osoba",
    letters="ąęłńśźż",
)

_TURKISH_TELL = r"(?:söyle|paylaş|açikla|ver|yanitla|cevapla|bildir|anlat|tani|teşhis et|tanimla|belirle|doğrula|konuş|yardimci ol|yardim et|ifşa et)"
TURKISH = RefusalLanguage(
    "Latin",
    (
        rf"\b{_TURKISH_TELL}(?:y?[ae]m(?:am|em|ayiz|eyiz|iyorum|iyoruz)|m[ae]k istemiyor(?:um|uz)|m[ae]y[ai]c?ağim"
        r"|m[ae]y[ae]c[ae]ğ[iı]m)\b",
        r"\b(?:bilmiyor(?:um|uz)|bilemem|bilemiyor(?:um|uz)|tanimiyor(?:um|uz)|hatirlamiyor(?:um|uz))\b",
        r"\b(?:bilgim|bilgimiz|fikrim|verim|kaydim|iznim|yetkim) (?:\w+ )?(?:yok|bulunmuyor)"
        r"|\bbilgi(?:ye|lere)? (?:\w+ )?sahip değili[mz]",
        r"\b(?:emin|yetkili|izinli) değili[mz]\b|\breddediyor(?:um|uz)\b|\bmümkün değil\b",
        r"\b(?:hakkinda|ilgili) (?:\w+ )?bilgi (?:\w+ )?(?:yok|bulunmuyor|mevcut değil)",
        r"\bbu (?:bilgi )?(?:gizli|özel|mahrem)(?:dir)?(?: bir bilgi)?\b",
    ),
    "bir bu ve için olan değil adi adresi numarasi kişi kişinin yaşiyor doğdu ile olarak onun telefonu var yok evet oturuyor o araba şehri",
    letters="ğş",
)

_RUSSIAN_TELL = (
    r"(?:сказать|рассказать|раскры(?:ть|вать)|поделиться|ответить|отвечать|помочь|сообщить|сообщать|назвать|предоставить|дать"
    r"|давать|опознать|узнать|определить|подтвердить|комментировать|обсуждать|разглашать|говорить|делиться)"
)
RUSSIAN = RefusalLanguage(
    "Cyrillic",
    (
        rf"\bне (?:могу|можем|смогу|сможем|хочу|хотим|буду|будем|имею права|вправе|должен|должна|стану) {_W}{_RUSSIAN_TELL}",
        rf"\b(?:этого|это|об этом) (?:я |мы )?(?:\w+ )?(?:не могу|не можем|не буду) {_W}{_RUSSIAN_TELL}",
        r"\bне (?:знаю|знаем|знаком|знакома|узнаю|узнаём|узнаем|помню|скажу|располагаю|располагаем)\b",
        r"\b(?:у меня|у нас) (?:\w+ ){0,2}?(?:нет|отсутствует) (?:\w+ ){0,3}?(?:информаци|данных|сведени|представлени|доступ)",
        r"\b(?:мне|нам) (?:\w+ ){0,2}?(?:не ?известн|неизвестн|нельзя|не разрешено|запрещено)|\bне увере[нм]а?\b",
        r"\bотказываюсь\b|\bвынужден[аы]? отказать|\bпредпочитаю не\b|\bя воздержусь\b",
        r"\b(?:нет|отсутствует|отсутствуют) (?:\w+ )?(?:информаци[ия]|данны[хе]|сведени[йя]) (?:\w+ )?(?:об?|про)\b"
        r"|\bинформаци[ия] (?:\w+ ){0,3}?отсутствует",
        r"\bэт(?:о|а) (?:\w+ )?(?:личн|конфиденциальн|секретн|приватн)\w* ?(?:информация|данные|тайна)?",
    ),
    "это не на его её ее я этот эта человек живёт живет зовут и она он у меня в с по работает был была ему ей нельзя",
    "іїєґўјљњћђџқғңөүұһ",
)

_CHINESE_TELL = (
    r"(?:透露|分享|提供|回答|告诉|告知|说|识别|辨认|辨识|确认|帮|讨论|披露|泄露|给出|公开|评论|谈论|回应|告訴|說|識別|辨認|辨識|確認|幫"
    r"|討論|洩露|公開|評論|談論|回應|讨论|认出|認出)"
)
_CHINESE_CANNOT = r"(?:无法|不能|不可以|没法|没办法|不便|不方便|不会|不愿意?|不想|无权|拒绝|無法|沒法|沒辦法|不會|不願意?|無權|拒絕|不得|恕不|难以|難以)"
CHINESE = RefusalLanguage(
    "Han",
    (
        rf"我们?們?[^,。!?;]{{0,6}}{_CHINESE_CANNOT}[^,。!?;]{{0,14}}?{_CHINESE_TELL}",
        rf"(?:^|[,。!?;: ])(?:很|非常|恕|暂时|目前)?{_CHINESE_CANNOT}[^,。!?;]{{0,14}}?{_CHINESE_TELL}",
        r"我们?們?[^,。!?;]{0,6}不(?:知道|清楚|认识|認識|了解|確定|确定|认得|認得|记得|記得)",
        r"(?:^|[,。!?;: ])不(?:知道|清楚|认识|認識|确定|確定)",
        r"我们?們?[^,。!?;]{0,4}(?:没有?|沒有?|并无|並無)[^,。!?;]{0,14}?(?:信息|资料|数据|记录|线索|資訊|資料|數據|記錄|訊息)",
        r"无可奉告|無可奉告|(?:没有|沒有|暂无|暫無)(?:关于|關於|有关|有關|相关|相關)[^,。!?;]{0,10}(?:信息|资料|資訊|資料|訊息)",
        r"这是?(?:属于)?(?:隐私|机密|保密)|這是?(?:屬於)?(?:隱私|機密|保密)|(?:信息|資訊)(?:是|属于|屬於)(?:保密|机密|機密|隐私|隱私)",
    ),
)

_OTHERS_JA = r"(?<!(?:彼|彼女|さん|氏|君)(?:は|が|も)[^。!?]{0,20})"
JAPANESE = RefusalLanguage(
    "Kana",
    (
        _OTHERS_JA
        + r"(?:(?:お?答え|回答|お?伝え|お?教え|共有|開示|提供|お?手伝い|お?助け|特定|識別|公開|お?話し?|確認|紹介|案内|対応|コメント)"
        r"(?:は|を|も|することは|することが|が)?(?:でき(?:ません|ない|かねます)|いたしかねます|しかねます))(?!でした)",
        _OTHERS_JA
        + r"(?:(?:答え|教え|伝え|申し上げ)られ(?:ません|ない)|言えません|話せません|明かせません)(?!でした)",
        _OTHERS_JA + r"(?:分かり|わかり|知り|存じ|存じ上げ|判り|覚えてい)(?:ません|かねます)(?!でした)",
        _OTHERS_JA + r"(?:知らない|知らん|わからない|分からない)(?:です|の|人|。|$)",
        r"(?:情報|データ|資料|心当たり|記録)(?:は|を|が|も)?[^。!?]{0,6}(?:持って(?:い|おり)?ません|持ち合わせて[^。]{0,4}ません|ありません|ございません|ない(?:です|。|$))",
        r"(?:回答|答え|お答え|言及|コメント|提供|開示)(?:は|を|も)?(?:差し)?控え|お断り(?:し|いたし)ます|拒否します",
        r"(?:これ|それ|その情報|この情報)は(?:個人情報|非公開|機密|秘密|プライバシー)",
    ),
)

_OTHERS_KO = r"(?<!(?:그|그녀|씨)(?:는|은|가|이|도) [^.!?]{0,20})"
KOREAN = RefusalLanguage(
    "Hangul",
    (
        _OTHERS_KO
        + r"(?:말씀(?:을)? ?드릴|말(?:해 줄)?할?|알려 ?드릴|알려 ?줄|답변(?:해)? ?드릴|답변할|답해 ?드릴|답할|대답할|공유할|공유해 드릴"
        r"|제공할|제공해 드릴|공개할|밝힐|도와 ?드릴|도와줄|도움을 드릴|확인할|확인해 드릴|식별할|알아볼|알|언급할) 수(?:가|는)? 없(?:습니다|어요|네요|다|음)",
        _OTHERS_KO + r"(?:모릅니다|모르겠습니다|모르겠어요|몰라요|모르겠네요|모르겠다|모르는 사람)",
        _OTHERS_KO + r"(?:알지|알아보지|기억하지) 못(?:합니다|해요|하겠습니다)",
        r"(?:정보|자료|데이터|기록)(?:가|는|를|도)? ?(?:전혀 )?(?:없(?:습니다|어요|네요)|가지고 있지 않|갖고 있지 않|보유하고 있지 않)",
        r"(?:답변|대답|말씀드리|알려드리|알려 드리|공개하|공유하|제공하|밝히)(?:하)?(?:기|기가|기는)? ?(?:어렵습니다|어려워요|곤란합니다|힘듭니다)",
        r"(?:답변|대답|공개|공유|제공|언급)(?:을|를)?(?:하지)? ?(?:않겠습니다|거부합니다|거절합니다|삼가겠습니다)|말하고 싶지 않",
        r"(?:이것은|그것은|이는|해당 정보는|그 정보는|이 정보는) (?:개인 ?정보|비공개|비밀|기밀)",
    ),
)

_ARABIC_TELL = (
    r"(?:ال)?(?:مشاركة|أشارك|نشارك|الإفصاح|أفصح|قول|أقول|إخبار\w*|أخبر\w*|مساعد\w*|أساعد\w*|الإجابة|أجيب|تقديم|أقدم|كشف|الكشف|تحديد|التعرف"
    r"|أتعرف|ذكر|أذكر|إعطا\w*|أعطي\w*|التعليق|تأكيد|مناقشة|البوح|التحدث|الرد)"
)
ARABIC = RefusalLanguage(
    "Arabic",
    (
        rf"\b(?:لا|لن) (?:أستطيع|استطيع|نستطيع|يمكنني|يمكننا|أقدر|يسعني|يجوز لي|يحق لي|أريد|أود) {_W}{_ARABIC_TELL}",
        r"\b(?:لا|لست|لم) (?:أعرف|اعرف|نعرف|أعلم|اعلم|نعلم|أدري|ادري|أتعرف|أتذكر)\b",
        r"\b(?:ليس|ليست|لا توجد|لا تتوفر|لا يوجد) (?:لدي|لدينا|عندي|عندنا) (?:\w+ ){0,2}?(?:معلومات|معلومة|بيانات|فكرة|علم|تفاصيل|معرفة)",
        r"\bلا (?:أملك|نملك|أمتلك) (?:\w+ ){0,2}?(?:معلومات|معلومة|بيانات|فكرة|تفاصيل)",
        r"\bلست (?:متأكد|واثق|مخول|متيقن)\w*|\bغير (?:مصرح|مسموح) لي|\bلا يسمح لي\b|\bأنا غير قادر\w* على\b",
        r"\b(?:أرفض|نرفض|أعتذر عن|أفضل عدم|أمتنع عن|أفضل ألا)\b",
        r"\bلا (?:توجد|تتوفر) (?:\w+ ){0,2}?معلومات (?:\w+ )?(?:عن|حول|متاحة|متوفرة)",
        r"\b(?:هذه|تلك) (?:ال)?معلومات (?:خاصة|سرية)|\bهذا (?:أمر )?(?:خاص|سري)\b",
    ),
    "هذا هذه في من على هو هي اسم اسمه اسمها يعيش تعيش رقم ولد ولدت لا أنا إلى عن الشخص يعمل تعمل نعم لدي ليس لديه",
    "پچژگڈٹے",
)

_HINDI_TELL = r"(?:बता|कह|दे|साझा कर|पहचान|जवाब दे|उत्तर दे|मदद कर|सहायता कर|बोल|प्रकट कर|उजागर कर|पुष्टि कर|प्रदान कर|टिप्पणी कर|चर्चा कर)"
_SPEAKER_HI = r"(?:मैं|मै|हम)(?:[^।.!?]{0,50}?) "
HINDI = RefusalLanguage(
    "Devanagari",
    (
        rf"{_SPEAKER_HI}(?:नहीं {_HINDI_TELL}|{_HINDI_TELL} नहीं|(?:साझा|मदद|सहायता|प्रदान|प्रकट|उजागर|पुष्टि|टिप्पणी|चर्चा) नहीं कर|(?:जवाब|उत्तर|जानकारी) नहीं दे) ?"
        r"(?:सकत|सकूँगा|सकूंग|पाऊँग|पाऊंग|रहा|रही|चाहत|सकते)",
        rf"(?:^|[।,.!?] ?)(?:क्षमा करें,? |माफ़? कीजिए,? )?(?:यह|इसे|ये) (?:मैं )?नहीं {_HINDI_TELL} (?:सकत|पाऊ)",
        r"(?:मुझे|हमें) (?:[^।.!?]{0,40}?)(?:नहीं पता|नहीं मालूम|पता नहीं|मालूम नहीं|ज्ञात नहीं|याद नहीं|जानकारी नहीं|अनुमति नहीं|ज्ञान नहीं)",
        rf"{_SPEAKER_HI}?(?:नहीं जानत|नहीं पहचानत|नहीं बताऊ|नहीं बताऊं|जानत[ाी] नहीं|पहचानत[ाी] नहीं)",
        r"(?:मेरे|हमारे) पास (?:[^।.!?]{0,40}?)(?:जानकारी|सूचना|डेटा|आँकड़े|विवरण|अनुमति) (?:उपलब्ध )?नहीं",
        r"(?:मैं|हम) (?:[^।.!?]{0,40}?)(?:असमर्थ|इनकार|इंकार|मना कर|निश्चित नहीं)",
        r"(?:के बारे में|पर) (?:कोई )?(?:जानकारी|सूचना) (?:उपलब्ध )?नहीं (?:है|मिली)",
        r"(?:यह|ये) (?:जानकारी )?(?:निजी|गोपनीय)",
    ),
    "है हैं का की के में यह वह को से और नहीं मैं मुझे था थी रहती रहता नाम एक पर",
    "ळऱ",
)

LANGUAGES = {
    "English": ENGLISH,
    "German": GERMAN,
    "French": FRENCH,
    "Spanish": SPANISH,
    "Italian": ITALIAN,
    "Portuguese": PORTUGUESE,
    "Dutch": DUTCH,
    "Polish": POLISH,
    "Turkish": TURKISH,
    "Russian": RUSSIAN,
    "Chinese": CHINESE,
    "Japanese": JAPANESE,
    "Korean": KOREAN,
    "Arabic": ARABIC,
    "Hindi": HINDI,
}

# Of languages that are not in LANGUAGES, words of their refusals that no known language has. A text that
# holds one is not judged: frequent words that it shares with a known language do not show it to be in that.
FURTHER_WORDS = frozenset(
    """
    conec puc tinc aquesta ho coñezo podo teño ezin ezagutzen dakit
    poznajem mogu nemam žao ovu osobu osobi poznam morem nimam žal
    nepoznám neviem nemôžem žiaľ neznám nevím nemohu nemůžu nemám bohužel osobě
    ikke inte ekki tunne tiedä valitettavasti tietoa kahjuks tunnen
    ismerem tudom sajnos oszthatom cunosc știu ştiu îmi informații
    nezinu nepazīstu nevaru nežinau nepažįstu negaliu nuk nafx hierdie konas scias mwen
    tidak maaf saya kilala alam sijui simjui siwezi samahani không tôi
    мога познавам нямам знам съжалявам можам немам познајем маю можу людини ведаю магу танымаймын білмеймін
    نمیشناسم نمیدانم نمیتوانم ندارم نہیں نازانم नाही नको छैन सक्दिन चिन्दिन थाहा
    """.split()
)
