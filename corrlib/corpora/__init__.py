"""A corpus as two tables, clips and captions, whatever it looks like on disk."""

from corrlib.corpora.auditing import AuditError, audit
from corrlib.corpora.corpus import Corpus
from corrlib.corpora.load import CORPORA, check_name, list_corpus, load_corpus, splits_of

__all__ = ["CORPORA", "AuditError", "Corpus", "audit", "check_name", "list_corpus", "load_corpus", "splits_of"]
