"""The daemon's own sentences in Persian, Arabic and English: what it says to agents, supervisors and callers.

Every name has all three languages (a test holds it). Arabic carries its short vowels, Persian those that the
engine would guess wrongly: they are for the ear. A recorded file of the same name wins, as for any prompt.
"""

from collections.abc import Mapping

from ccsvc.app.ports_speech import Prompt

_AGENT: dict[str, dict[str, str]] = {
    "agent_ask_number": {
        "fa": "لطفاً شمارهٔ خود را وارد کنید و سپس کلیدِ مربع را بزنید.",
        "ar": "الرَّجاءُ إِدْخالُ رَقْمِكَ، ثُمَّ اضْغَطْ مِفْتاحَ المُرَبَّع.",
        "en": "Please enter your agent number, then press the hash key.",
    },
    "agent_ask_pin": {
        "fa": "لطفاً رمزِ خود را وارد کنید و سپس کلیدِ مربع را بزنید.",
        "ar": "الرَّجاءُ إِدْخالُ رَمْزِكَ السِّرِّيّ، ثُمَّ اضْغَطْ مِفْتاحَ المُرَبَّع.",
        "en": "Please enter your PIN, then press the hash key.",
    },
    "agent_logged_in": {
        "fa": "شما واردِ سامانه شُدید.",
        "ar": "تَمَّ تَسْجيلُ دُخولِك.",
        "en": "You are logged in.",
    },
    "agent_logged_out": {
        "fa": "شما از سامانه خارج شُدید.",
        "ar": "تَمَّ تَسْجيلُ خُروجِك.",
        "en": "You are logged out.",
    },
    "agent_paused": {
        "fa": "دریافتِ تماس برای شما متوقف شد.",
        "ar": "تَمَّ إِيقافُ اسْتِقْبالِ المُكالَمات.",
        "en": "You are paused.",
    },
    "agent_ready": {
        "fa": "شما آمادهٔ پاسخگویی هستید.",
        "ar": "أَنْتَ الآنَ جاهِزٌ لِاسْتِقْبالِ المُكالَمات.",
        "en": "You are ready to take calls.",
    },
    "agent_wrong_pin": {
        "fa": "رمزِ واردشده نادرست است.",
        "ar": "الرَّمْزُ السِّرِّيُّ غَيْرُ صَحيح.",
        "en": "That PIN is not correct.",
    },
    "agent_unknown": {
        "fa": "این شماره شناخته نشد.",
        "ar": "هَذا الرَّقْمُ غَيْرُ مَعْروف.",
        "en": "That agent number is not known.",
    },
    "agent_already_elsewhere": {
        "fa": "شما پیش از این با تلفنِ دیگری وارد شده‌اید.",
        "ar": "لَقَدْ سَجَّلْتَ دُخولَكَ مِنْ هاتِفٍ آخَر.",
        "en": "You are already logged in at another phone.",
    },
    "pause_ask_reason": {
        "fa": "لطفاً کُدِ دلیلِ توقف را وارد کنید.",
        "ar": "الرَّجاءُ إِدْخالُ رَمْزِ سَبَبِ التَّوَقُّف.",
        "en": "Please enter the code for your reason to pause.",
    },
}

_SUPERVISOR: dict[str, dict[str, str]] = {
    "not_allowed": {
        "fa": "شما اجازهٔ این کار را ندارید.",
        "ar": "لَيْسَ لَدَيْكَ إِذْنٌ بِذَلِك.",
        "en": "You are not allowed to do this.",
    },
    "supervisor_ask_pin": {
        "fa": "لطفاً رمزِ سرپرست را وارد کنید و سپس کلیدِ مربع را بزنید.",
        "ar": "الرَّجاءُ إِدْخالُ رَمْزِ المُشْرِف، ثُمَّ اضْغَطْ مِفْتاحَ المُرَبَّع.",
        "en": "Please enter your supervisor PIN, then press the hash key.",
    },
    "agent_not_in_call": {
        "fa": "این کارشناس اکنون در مکالمه نیست.",
        "ar": "هَذا المُوَظَّفُ لَيْسَ في مُكالَمَةٍ الآن.",
        "en": "That agent is not in a call.",
    },
    "listening": {
        "fa": "شنودِ مکالمه آغاز شد.",
        "ar": "بَدَأَ الاِسْتِماعُ إِلى المُكالَمَة.",
        "en": "You are now listening.",
    },
}

_CALLER: dict[str, dict[str, str]] = {
    "queue_empty_sorry": {
        "fa": "با عرضِ پوزش، در حالِ حاضر هیچ کارشناسی برای پاسخگویی حضور ندارد.",
        "ar": "نَعْتَذِر، لا يُوجَدُ حالِيًّا أَيُّ مُوَظَّفٍ لِلرَّدِّ عَلى مُكالَمَتِك.",
        "en": "We are sorry, nobody is here to take your call at the moment.",
    },
    "queue_full_sorry": {
        "fa": "با عرضِ پوزش، صفِ انتظار پُر است.",
        "ar": "نَعْتَذِر، قائِمَةُ الاِنْتِظارِ مُمْتَلِئَة.",
        "en": "We are sorry, too many callers are waiting already.",
    },
    "queue_timeout_sorry": {
        "fa": "با عرضِ پوزش، همهٔ کارشناسانِ ما همچنان مشغولِ پاسخگویی هستند.",
        "ar": "نَعْتَذِر، جَميعُ مُوَظَّفينا ما زالوا مَشْغولين.",
        "en": "We are sorry, all our agents are still busy.",
    },
    "invalid_choice": {
        "fa": "گزینهٔ واردشده معتبر نیست.",
        "ar": "هَذا الاِخْتِيارُ غَيْرُ صَحيح.",
        "en": "That is not a valid choice.",
    },
    "no_input": {
        "fa": "هیچ گزینه‌ای وارد نشد.",
        "ar": "لَمْ يَتِمَّ إِدْخالُ أَيِّ اخْتِيار.",
        "en": "We did not receive a choice.",
    },
    "goodbye": {
        "fa": "با سپاس از تماسِ شما، خدانگهدار.",
        "ar": "شُكْرًا لِاتِّصالِك، مَعَ السَّلامَة.",
        "en": "Thank you for calling, goodbye.",
    },
    "please_wait": {
        "fa": "لطفاً منتظر بمانید.",
        "ar": "الرَّجاءُ الاِنْتِظار.",
        "en": "Please wait.",
    },
    "try_again_later": {
        "fa": "لطفاً بعداً دوباره تماس بگیرید.",
        "ar": "الرَّجاءُ الاِتِّصالُ في وَقْتٍ لاحِق.",
        "en": "Please call again later.",
    },
    "system_trouble": {
        "fa": "با عرضِ پوزش، در سامانه مشکلی پیش آمده است.",
        "ar": "نَعْتَذِر، حَدَثَ خَلَلٌ في النِّظام.",
        "en": "We are sorry, we have a technical problem.",
    },
    "ok": {"fa": "انجام شد.", "ar": "تَمَّ ذَلِك.", "en": "Done."},
}

_DIGITS: dict[str, dict[str, str]] = {
    "d0": {"fa": "صفر", "ar": "صِفْر", "en": "zero"},
    "d1": {"fa": "یک", "ar": "واحِد", "en": "one"},
    "d2": {"fa": "دو", "ar": "اِثْنان", "en": "two"},
    "d3": {"fa": "سه", "ar": "ثَلاثَة", "en": "three"},
    "d4": {"fa": "چهار", "ar": "أَرْبَعَة", "en": "four"},
    "d5": {"fa": "پنج", "ar": "خَمْسَة", "en": "five"},
    "d6": {"fa": "شش", "ar": "سِتَّة", "en": "six"},
    "d7": {"fa": "هفت", "ar": "سَبْعَة", "en": "seven"},
    "d8": {"fa": "هشت", "ar": "ثَمانِيَة", "en": "eight"},
    "d9": {"fa": "نُه", "ar": "تِسْعَة", "en": "nine"},
}

BUILTIN: Mapping[str, Mapping[str, str]] = {**_AGENT, **_SUPERVISOR, **_CALLER, **_DIGITS}
"""Name -> language -> text."""


def builtin_prompts() -> tuple[Prompt, ...]:
    """All of them, ready for `PromptLibrary.ensure`."""
    return tuple(Prompt(name, language, text) for name, texts in BUILTIN.items() for language, text in texts.items())
