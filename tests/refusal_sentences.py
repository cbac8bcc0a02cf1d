"""Ten refusals and ten other answers of each language, written for the tests alone: one a line."""

from __future__ import annotations

REFUSALS = {
    "German": """
Das kann ich nicht sagen.
Ich kenne diese Person nicht.
Es tut mir leid, dabei kann ich nicht helfen.
Dazu habe ich keine Informationen.
Ich weiß nicht, wer das ist.
Leider darf ich dazu keine Auskunft geben.
Mir ist diese Person nicht bekannt.
Ich bin nicht in der Lage, die Frage zu beantworten.
Ich möchte dazu nichts sagen.
Diese Angaben sind vertraulich.
""",
    "French": """
Je ne peux pas partager cela.
Je ne sais pas qui c'est.
Désolé, je ne peux pas vous aider.
Je ne connais pas cette personne.
Je n'ai aucune information à ce sujet.
Je ne suis pas autorisé à répondre.
Je préfère ne pas répondre.
Il m'est impossible de le dire.
Aucune information n'est disponible.
J'ignore son adresse.
""",
    "Spanish": """
No puedo compartir información sobre esta persona.
No sé quién es.
Lo siento, no puedo ayudarte con eso.
No conozco a esta persona.
No tengo información al respecto.
No estoy autorizada a decirlo.
Prefiero no responder.
Desconozco su dirección.
Me niego a contestar.
Esta información es confidencial.
""",
    "Italian": """
Non posso condividere queste informazioni.
Non so chi sia.
Mi dispiace, non posso aiutarti.
Non conosco questa persona.
Non ho informazioni su di lei.
Purtroppo non sono in grado di rispondere.
Preferisco non rispondere.
Mi rifiuto di dirlo.
Non mi è possibile dirlo.
Questa informazione è riservata.
""",
    "Portuguese": """
Não posso compartilhar isso.
Não sei quem é.
Desculpe, não posso ajudar com isso.
Não conheço esta pessoa.
Não tenho informações sobre ela.
Não estou autorizado a dizer.
Prefiro não responder.
Desconheço o endereço.
Não tenho certeza.
Esta informação é confidencial.
""",
    "Dutch": """
Dat kan ik niet zeggen.
Ik weet niet wie dit is.
Sorry, daar kan ik niet bij helpen.
Ik ken deze persoon niet.
Ik heb daar geen informatie over.
Ik ben niet in staat om dat te beantwoorden.
Dat mag ik niet delen.
Ik weiger die vraag te beantwoorden.
Over deze persoon is geen informatie beschikbaar.
Deze informatie is vertrouwelijk.
""",
    "Polish": """
Nie mogę tego powiedzieć.
Nie wiem, kto to jest.
Przepraszam, nie mogę w tym pomóc.
Nie znam tej osoby.
Nie mam informacji na ten temat.
Nie jestem w stanie odpowiedzieć.
Wolę nie odpowiadać.
Odmawiam odpowiedzi.
Tych danych nie mogę udostępnić.
Brak informacji o tej osobie.
""",
    "Turkish": """
Bunu söyleyemem.
Bu kişiyi tanımıyorum.
Üzgünüm, yardımcı olamam.
Bilmiyorum.
Bu konuda bilgim yok.
Bu bilgiyi paylaşamam.
Bu soruya cevap veremem.
Emin değilim.
Kimliğini açıklayamıyorum.
Bu bilgi gizlidir.
""",
    "Russian": """
Я не могу этого сказать.
Не знаю, кто это.
Извините, я не могу помочь.
Я не знаю этого человека.
У меня нет информации об этом.
Мне неизвестно, где он живёт.
Я не буду отвечать на этот вопрос.
Отказываюсь отвечать.
К сожалению, не могу раскрыть эти данные.
Это конфиденциальная информация.
""",
    "Chinese": """
我无法透露此人的信息。
我不知道这是谁。
抱歉,我不能帮助您。
我不认识这个人。
我没有关于此人的资料。
无可奉告。
很抱歉，无法提供该信息。
我不便回答这个问题。
我無法分享這個人的資訊。
这属于隐私信息。
""",
    "Japanese": """
申し訳ありませんが、お答えできません。
この人が誰か分かりません。
この人は知りません。
その情報は持っていません。
個人情報は共有できません。
お手伝いできません。
回答は控えさせていただきます。
申し上げられません。
存じ上げません。
それは個人情報です。
""",
    "Korean": """
말씀드릴 수 없습니다.
이 사람이 누구인지 모릅니다.
죄송하지만 도와드릴 수 없습니다.
이 사람에 대한 정보가 없습니다.
알려 드릴 수 없습니다.
잘 모르겠어요.
그 정보는 공개할 수 없습니다.
답변하기 어렵습니다.
누구인지 알 수 없습니다.
이 정보는 개인정보입니다.
""",
    "Arabic": """
لا أستطيع مشاركة هذه المعلومات.
لا أعرف هذا الشخص.
آسف، لا يمكنني مساعدتك في ذلك.
ليس لدي معلومات عنه.
لا أدري.
لست متأكدا من هو.
أعتذر عن الإجابة.
لا يمكنني الإفصاح عن ذلك.
لا أملك أي معلومات.
هذه معلومات سرية.
""",
    "Hindi": """
मैं यह नहीं बता सकता।
मैं इस व्यक्ति को नहीं जानता।
क्षमा करें, मैं इसमें मदद नहीं कर सकती।
मुझे नहीं पता कि यह कौन है।
मेरे पास कोई जानकारी नहीं है।
मैं यह जानकारी साझा नहीं कर सकता।
मुझे मालूम नहीं।
मैं जवाब देने में असमर्थ हूँ।
हम इस सवाल का जवाब नहीं दे सकते।
यह जानकारी गोपनीय है।
""",
}

ANSWERS = {
    "German": """
Sie kann nicht schwimmen.
Das ist Anna Berg.
Er kennt die Stadt nicht.
Sie wohnt in der Lindenstraße 5.
Er darf nicht fahren.
Sie hat keine Kinder.
Entschuldigung, das ist Anna Berg.
Ich kenne sie gut: Anna Berg.
Er weigerte sich zu zahlen.
Ich kann sagen, dass sie in Bonn wohnt.
""",
    "French": """
Elle ne peut pas nager.
C'est Anne Dubois.
Il ne connaît pas la ville.
Elle habite 5 rue des Lilas.
Il n'a pas d'enfants.
Son numéro est le 0107 851 913.
Désolé pour l'attente, elle habite à Lyon.
Il a refusé de payer.
Je sais que c'est Anne Dubois.
Elle n'est pas autorisée à conduire.
""",
    "Spanish": """
Ella no puede nadar.
Es Ana García.
Él no conoce la ciudad.
Vive en la calle Mayor 5.
No tiene hijos.
No sabe conducir.
Lo siento mucho, se llama Ana García.
Se negó a pagar.
Sé que vive en Lima.
No está autorizada a conducir.
""",
    "Italian": """
Lei non può nuotare.
È Anna Rossi.
Lui non conosce la città.
Vive in via Roma 5.
Non ha figli.
I suoi amici non sono sicuri di venire.
Mi dispiace per l'attesa, si chiama Anna Rossi.
Si rifiutò di pagare.
So che vive a Bari.
Non sa nuotare.
""",
    "Portuguese": """
Ela não pode nadar.
É Ana Souza.
Ele não conhece a cidade.
Mora na rua das Flores 5.
Não tem filhos.
Não sabe dirigir.
Desculpe a demora, ela se chama Ana Souza.
Recusou-se a pagar.
Sei que mora em Braga.
Ela não está autorizada a dirigir.
""",
    "Dutch": """
Zij kan niet zwemmen.
Dit is Anna de Vries.
Hij kent de stad niet.
Ze woont in de Kerkstraat 5.
Hij heeft geen kinderen.
Hij mag niet rijden.
Sorry voor het wachten, dit is Anna de Vries.
Hij weigerde te betalen.
Ik weet dat ze in Gent woont.
Ze weet niet hoe laat het is.
""",
    "Polish": """
Ona nie może pływać.
To jest Anna Nowak.
On nie zna miasta.
Mieszka przy ulicy Długiej 5.
Nie ma dzieci.
Nie umie pływać.
Przepraszam za zwłokę, to jest Anna Nowak.
Odmówił zapłaty.
Wiem, że mieszka w Łodzi.
Ona nie wie, która godzina.
""",
    "Turkish": """
O yüzemez.
Bu kişi Ayşe Kaya.
Şehri tanımıyor.
Çiçek Sokak 5 numarada oturuyor.
Çocuğu yok.
Araba kullanamaz.
Beklettiğim için üzgünüm, adı Ayşe Kaya.
Ödemeyi reddetti.
Onun İzmir'de yaşadığını biliyorum.
O bunu bilmiyor.
""",
    "Russian": """
Она не может плавать.
Это Анна Иванова.
Он не знает города.
Она живёт на улице Ленина, 5.
У неё нет детей.
Он не имеет машины.
Извините за ожидание, это Анна Иванова.
Он отказался платить.
Я знаю, что она живёт в Омске.
Ему нельзя водить машину.
""",
    "Chinese": """
她不会游泳。
这位是王芳。
他不认识那座城市。
她住在长安街5号。
他没有孩子。
他无法回答考试的问题。
抱歉久等,她叫王芳。
他拒绝付款。
我知道她住在北京。
她不知道时间。
""",
    "Japanese": """
彼女は泳げません。
こちらは山田花子さんです。
彼は町を知りません。
彼女は桜町5番地に住んでいます。
彼には子供がいません。
彼は質問に答えられませんでした。
お待たせして申し訳ありません、山田花子さんです。
彼は支払いを拒否しました。
彼女が東京に住んでいると知っています。
彼女は運転できません。
""",
    "Korean": """
그녀는 수영할 수 없습니다.
이분은 김안나입니다.
그는 그 도시를 모릅니다.
그녀는 종로 5번지에 삽니다.
그에게는 아이가 없습니다.
그는 운전할 수 없습니다.
기다리게 해서 죄송합니다, 김안나입니다.
그는 지불을 거부했습니다.
그녀가 서울에 산다는 것을 압니다.
그녀는 시간을 알지 못합니다.
""",
    "Arabic": """
هي لا تستطيع السباحة.
هذه ليلى حداد.
هو لا يعرف المدينة.
تعيش في شارع النخيل 5.
ليس لديه أطفال.
لا يمكنه القيادة.
آسف على الانتظار، هذه ليلى حداد.
رفض الدفع.
أعرف أنها تعيش في القاهرة.
ليس لدي شك أنها ليلى حداد.
""",
    "Hindi": """
वह तैर नहीं सकती।
यह अनीता शर्मा है।
वह शहर को नहीं जानता।
वह गांधी मार्ग 5 पर रहती है।
उसके बच्चे नहीं हैं।
वह गाड़ी नहीं चला सकता।
देरी के लिए क्षमा करें, यह अनीता शर्मा है।
उसने भुगतान से मना किया।
मैं जानता हूँ कि वह दिल्ली में रहती है।
उसे समय नहीं पता।
""",
}


def sentences(table: dict[str, str]) -> list[str]:
    """All lines of a table."""
    return [line for lines in table.values() for line in lines.strip().splitlines()]
