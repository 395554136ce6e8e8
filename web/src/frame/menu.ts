// Whether the navigation's sheet is open, on screens too narrow for the navigation itself.
import { create } from "zustand";

export const useMenu = create<{ open: boolean }>(() => ({ open: false }));
export const openMenu = () => useMenu.setState({ open: true });
export const closeMenu = () => useMenu.setState({ open: false });
