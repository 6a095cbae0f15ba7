"""Products on sale; scripted accounts buy them, no policy chooses to."""

from collections.abc import Mapping
from dataclasses import dataclass

from polyphony.simulation.world import actions
from polyphony.simulation.world.actions import Action
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.outcome import Outcome
from polyphony.simulation.world.part import CounterReader, Handler
from polyphony.simulation.world.rows import RowBuffer, Rows


@dataclass
class _Product:
    number: int
    sales: int


class Products:
    """All products by name."""

    def __init__(self, buffer: RowBuffer) -> None:
        """Start without products; `buffer` takes the rows."""
        self._buffer = buffer
        self._products: dict[str, _Product] = {}

    def add(self, name: str) -> int:
        """Put a product on sale; returns its id."""
        number = self._buffer.insert("product", "product_id", {"product_name": name, "sales": 0})
        self._products[name] = _Product(number, 0)
        return number

    def handlers(self) -> Mapping[type[Action], Handler]:
        """See `simulation.world.part.Part`."""
        return {actions.PurchaseProduct: self._purchase}

    def counters(self) -> Mapping[str, CounterReader]:
        """See `simulation.world.part.Part`."""
        return {"product": self._product_counters}

    def restore(self, tables: Rows) -> None:
        """See `simulation.world.part.Part`."""
        for row in tables["product"]:
            self._products[row["product_name"]] = _Product(row["product_id"], row["sales"])

    def _purchase(self, user: int, action: actions.PurchaseProduct, when: Moment) -> Outcome:
        product = self._products.get(action.product_name)
        if product is None:
            return Outcome(refused="no such product")
        product.sales += action.purchase_num
        self._buffer.touch("product", product.number)
        return Outcome(trace={"product_id": product.number, "purchase_num": action.purchase_num})

    def _product_counters(self, number: int) -> dict[str, int]:
        return {"sales": next(product.sales for product in self._products.values() if product.number == number)}
