"""h2's settings in less memory: it keeps each in a deque of its own, together 9 KiB a connection.

There is one value, but for the time between SETTINGS and their acknowledgement.
"""

from typing import Any, cast

from h2.settings import ChangedSetting, SettingCodes, Settings


class SmallSettings(Settings):
    """See h2's Settings. The values of a key stand in a list, the one that counts first."""

    def __init__(self, client: bool = True, initial_values: dict[SettingCodes, int] | None = None) -> None:
        super().__init__(client, initial_values)
        for key, values in self._values.items():
            self._values[key] = list(values)

    def acknowledge(self) -> dict[SettingCodes | int, ChangedSetting]:
        """What was said last counts from now on; which settings that changes."""
        changed: dict[SettingCodes | int, ChangedSetting] = {}
        for key, values in self._values.items():
            if len(values) > 1:
                old, *rest = values
                self._values[key] = rest
                changed[key] = ChangedSetting(key, old, rest[0])
        return changed

    @property
    def _values(self) -> dict[SettingCodes | int, Any]:
        """h2's own table, which its other methods read and append to."""
        return cast(dict[SettingCodes | int, Any], self._settings)
